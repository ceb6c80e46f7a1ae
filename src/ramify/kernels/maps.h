/* Vectors of channels, convolutions of one image, sums over maps: what the kernels consist of.
 *
 * Compiled for every scalar type and vector length: -DREAL=float|double -DBYTES=16|32|64. Maps are (B, H, W, C) in
 * memory. Channels are taken LANES at a time and padded with zeros in the buffers of a thread: padded maps are
 * [block][row][column][LANES], others [pixel][channel]. A sum over a map adds up rows, then the rows of an image, then
 * images, always in the same order: neither the number of threads nor the length of a sum costs bits or accuracy.
 */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef REAL real;
typedef real vec __attribute__((vector_size(BYTES), aligned(sizeof(real)), may_alias));
enum { LANES = BYTES / sizeof(real), PIXELS = 8, GROUP = LANES < 8 ? LANES : 8 };

#define INLINE static inline __attribute__((always_inline))
#define EACH(i, count) for (int i = 0; i < (count); i++)

INLINE vec load(const real *from, int count) {
    if (count >= LANES) return *(const vec *)from;
    vec v = {0};
    EACH(i, count) v[i] = from[i];
    return v;
}

INLINE void store(real *to, vec v, int count) {
    if (count >= LANES) *(vec *)to = v;
    else EACH(i, count) to[i] = v[i];
}

INLINE vec at(const real *from) { return *(const vec *)from; }
INLINE void put(real *to, vec v) { *(vec *)to = v; }
typedef __typeof__((vec){0} < (vec){0}) mask;
INLINE vec positive(vec v) { return (vec)((mask)v & ~(v < 0)); } /* keeps NaN, as PyTorch does */

static int padded(int channels) { return (channels + LANES - 1) / LANES * LANES; }

static real *buffer(ptrdiff_t count, int *failed) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (size_t)(count + LANES) * sizeof(real))) *failed = 1;
    return memory;
}

static real *zeros(ptrdiff_t count, int *failed) {
    real *memory = buffer(count, failed);
    if (!*failed) memset(memory, 0, (size_t)count * sizeof(real));
    return memory;
}

/* One convolution: from a padded map, whose margin may be larger than it needs, to rows × columns. */
typedef struct {
    int kernel, dilation, stride, rows, columns, margin, wide; /* wide: pixels in a row of the padded map */
} Window;

/* ---- Convolutions of one image ---- */

/* out[i] (+)= Σ weight[tap] · in[i · stride + offset[tap]] over `count` pixels of a row. */
INLINE void taps_row(const real *in, int stride, int taps, const ptrdiff_t *offset, const real *weight, real *out,
                     ptrdiff_t out_step, int count, int add) {
    int i = 0;
    for (; i + PIXELS <= count; i += PIXELS) {
        vec sum[PIXELS];
        EACH(p, PIXELS) sum[p] = add ? at(out + (i + p) * out_step) : (vec){0};
        EACH(t, taps) {
            const vec w = at(weight + t * LANES);
            const real *from = in + (ptrdiff_t)i * stride * LANES + offset[t];
            EACH(p, PIXELS) sum[p] += w * at(from + p * stride * LANES);
        }
        EACH(p, PIXELS) put(out + (i + p) * out_step, sum[p]);
    }
    for (; i < count; i++) {
        vec sum = add ? at(out + i * out_step) : (vec){0};
        EACH(t, taps) sum += at(weight + t * LANES) * at(in + (ptrdiff_t)i * stride * LANES + offset[t]);
        put(out + i * out_step, sum);
    }
}

/* t = depthwise(padded map), for one block of channels; `step` between pixels of the output. */
static void depthwise(Window w, const real *in, const real *weight, real *out, ptrdiff_t step) {
    ptrdiff_t offset[w.kernel * w.kernel];
    const int start = w.margin - w.kernel / 2 * w.dilation;
    EACH(y, w.kernel) EACH(x, w.kernel) {
        offset[y * w.kernel + x] = ((ptrdiff_t)(start + y * w.dilation) * w.wide + start + x * w.dilation) * LANES;
    }
    EACH(row, w.rows) {
        const real *from = in + (ptrdiff_t)row * w.stride * w.wide * LANES;
        real *to = out + (ptrdiff_t)row * w.columns * step;
        if (w.stride == 1) taps_row(from, 1, w.kernel * w.kernel, offset, weight, to, step, w.columns, 0);
        else taps_row(from, w.stride, w.kernel * w.kernel, offset, weight, to, step, w.columns, 0);
    }
}

/* Adds the gradient of the input, (height, width) pixels of LANES channels `step` apart, for one block of channels.
 * `inflated` is the output's gradient with a border of `border` zeros. Pixels of each remainder by the stride have
 * taps of their own. */
static void depthwise_input(Window w, const real *inflated, int border, int inflated_wide, const real *weight, real *out,
                            ptrdiff_t step, int height, int width) {
    const int reach = w.kernel / 2 * w.dilation, s = w.stride;
    ptrdiff_t offset[w.kernel * w.kernel];
    real chosen[w.kernel * w.kernel * LANES] __attribute__((aligned(64)));
    EACH(py, s) EACH(px, s) {
        int taps = 0;
        EACH(y, w.kernel) EACH(x, w.kernel) {
            const int dy = py + reach - y * w.dilation, dx = px + reach - x * w.dilation; /* of the output, times s */
            if (dy % s || dx % s) continue;
            offset[taps] = ((ptrdiff_t)(dy / s + border) * inflated_wide + dx / s + border) * LANES;
            put(chosen + taps++ * LANES, at(weight + (y * w.kernel + x) * LANES));
        }
        if (!taps || px >= width) continue;
        const int count = (width - px + s - 1) / s;
        for (int y = py; y < height; y += s) {
            const real *from = inflated + (ptrdiff_t)(y / s) * inflated_wide * LANES;
            taps_row(from, 1, taps, offset, chosen, out + ((ptrdiff_t)y * width + px) * step, s * step, count, 1);
        }
    }
}

INLINE void weight_rows(Window w, int kernel, int unroll, const real *in, const real *gradient, ptrdiff_t apart,
                        real *sums) {
    const int start = w.margin - w.kernel / 2 * w.dilation;
    const ptrdiff_t gap = (ptrdiff_t)w.dilation * LANES, step = (ptrdiff_t)w.stride * LANES;
    EACH(y, kernel) EACH(row, w.rows) {
        const real *from = in + ((ptrdiff_t)(start + row * w.stride + y * w.dilation) * w.wide + start) * LANES;
        const real *g = gradient + (ptrdiff_t)row * w.columns * apart;
        vec sum[unroll][kernel];
        EACH(u, unroll) EACH(x, kernel) sum[u][x] = (vec){0};
        int i = 0;
        for (; i + unroll <= w.columns; i += unroll) EACH(u, unroll) {
            const vec v = at(g + (i + u) * apart);
            EACH(x, kernel) sum[u][x] += v * at(from + (i + u) * step + x * gap);
        }
        for (; i < w.columns; i++) EACH(x, kernel) sum[0][x] += at(g + i * apart) * at(from + i * step + x * gap);
        EACH(x, kernel) {
            vec total = sum[0][x];
            for (int u = 1; u < unroll; u++) total += sum[u][x];
            real *to = sums + (y * kernel + x) * LANES;
            put(to, at(to) + total);
        }
    }
}

/* Adds the gradient of the weights over one image to `sums`, for one block of channels; pixels of `gradient` are
 * `apart`. */
static void depthwise_weight(Window w, const real *in, const real *gradient, ptrdiff_t apart, real *sums) {
    switch (w.kernel) {
        case 3: weight_rows(w, 3, 3, in, gradient, apart, sums); break;
        case 5: weight_rows(w, 5, 2, in, gradient, apart, sums); break;
        case 7: weight_rows(w, 7, 2, in, gradient, apart, sums); break;
        default: weight_rows(w, w.kernel, 1, in, gradient, apart, sums);
    }
}

/* out[pixel] = Σ in[pixel, i] · weight[i], where all have a padded number of channels. */
static void pointwise(const real *in, int pixels, int channels, const real *weight, real *out) {
    const int wide = padded(channels);
    for (int block = 0; block < wide; block += LANES) {
        int p = 0;
        for (; p + PIXELS <= pixels; p += PIXELS) {
            const real *from = in + (ptrdiff_t)p * wide;
            vec sum[PIXELS];
            EACH(i, PIXELS) sum[i] = (vec){0};
            EACH(c, channels) {
                const vec w = at(weight + (ptrdiff_t)c * wide + block);
                EACH(i, PIXELS) sum[i] += w * from[(ptrdiff_t)i * wide + c];
            }
            EACH(i, PIXELS) put(out + (ptrdiff_t)(p + i) * wide + block, sum[i]);
        }
        for (; p < pixels; p++) {
            vec sum = {0};
            EACH(c, channels) sum += at(weight + (ptrdiff_t)c * wide + block) * in[(ptrdiff_t)p * wide + c];
            put(out + (ptrdiff_t)p * wide + block, sum);
        }
    }
}

/* Adds Σ in[pixel, i] · gradient[pixel, o] to sums[i, o], row by row of `columns` pixels. */
static void pointwise_weight(const real *in, const real *gradient, int rows, int columns, int channels, real *sums) {
    const int wide = padded(channels);
    EACH(row, rows) {
        const real *from = in + (ptrdiff_t)row * columns * wide, *g = gradient + (ptrdiff_t)row * columns * wide;
        for (int block = 0; block < wide; block += LANES) for (int c = 0; c < channels; c += GROUP) {
            vec sum[GROUP];
            EACH(i, GROUP) sum[i] = (vec){0};
            EACH(p, columns) {
                const vec v = at(g + (ptrdiff_t)p * wide + block);
                EACH(i, GROUP) sum[i] += v * from[(ptrdiff_t)p * wide + c + i];
            }
            EACH(i, GROUP) {
                real *to = sums + (ptrdiff_t)(c + i) * wide + block;
                put(to, at(to) + sum[i]);
            }
        }
    }
}

/* ---- Maps and weights in memory, and in buffers ---- */

/* Copies an image into a padded buffer, activated: ReLU(scale · x + shift), or ReLU(x). */
static void enter(const real *x, int height, int width, int channels, int margin, const real *scale, const real *shift,
                  real *buffer) {
    const int wide = width + 2 * margin;
    const ptrdiff_t size = (ptrdiff_t)(height + 2 * margin) * wide * LANES;
    for (int block = 0, c = 0; c < channels; block++, c += LANES) {
        const int count = channels - c;
        const vec a = scale ? load(scale + c, count) : (vec){0}, b = scale ? load(shift + c, count) : (vec){0};
        EACH(y, height) {
            const real *from = x + (ptrdiff_t)y * width * channels + c;
            real *to = buffer + block * size + ((ptrdiff_t)(y + margin) * wide + margin) * LANES;
            EACH(i, width) {
                vec v = load(from + (ptrdiff_t)i * channels, count);
                if (scale) v = v * a + b;
                put(to + i * LANES, positive(v));
            }
        }
    }
}

/* Copies an image, computed as a · (g - b - c · (h - mean)) for each channel (`terms`: a, b, c, mean). */
static void enter_gradient(const real *g, const real *h, ptrdiff_t pixels, int channels, const real *terms, real *out) {
    const int wide = padded(channels);
    for (int c = 0; c < channels; c += LANES) {
        const int count = channels - c;
        const vec a = load(terms + c, count), b = load(terms + channels + c, count);
        const vec slope = load(terms + 2 * channels + c, count), mean = load(terms + 3 * channels + c, count);
        for (ptrdiff_t p = 0; p < pixels; p++) {
            const vec centered = load(h + p * channels + c, count) - mean;
            put(out + p * wide + c, a * (load(g + p * channels + c, count) - b - slope * centered));
        }
    }
}

static void leave(const real *in, ptrdiff_t pixels, int channels, real *out) {
    const int wide = padded(channels);
    for (ptrdiff_t p = 0; p < pixels; p++) memcpy(out + p * channels, in + p * wide, channels * sizeof(real));
}

/* weight (C, 1, k, k) → [block][tap][LANES] */
static void pack_depthwise(const real *weight, int channels, int taps, real *out) {
    EACH(c, channels) EACH(t, taps) out[((c / LANES) * taps + t) * LANES + c % LANES] = weight[c * taps + t];
}

/* weight (C_out, C_in) → [in][out], or as it is, padded. */
static void pack_pointwise(const real *weight, int channels, int turned, real *out) {
    const int wide = padded(channels);
    EACH(o, channels) EACH(i, channels) {
        out[turned ? (ptrdiff_t)o * wide + i : (ptrdiff_t)i * wide + o] = weight[(ptrdiff_t)o * channels + i];
    }
}

/* Takes the mean of each channel of an image, and Σ (h - mean)²: rows first, two passes. */
static void measure(const real *h, int rows, int columns, int channels, real *mean, real *square) {
    const int wide = padded(channels);
    for (int c = 0; c < channels; c += LANES) {
        vec total = {0}, squares = {0};
        EACH(y, rows) {
            vec sum = {0};
            EACH(x, columns) sum += at(h + ((ptrdiff_t)y * columns + x) * wide + c);
            total += sum;
        }
        const vec middle = total / (real)((real)rows * columns);
        EACH(y, rows) {
            vec sum = {0};
            EACH(x, columns) {
                const vec d = at(h + ((ptrdiff_t)y * columns + x) * wide + c) - middle;
                sum += d * d;
            }
            squares += sum;
        }
        store(mean + c, middle, channels - c);
        store(square + c, squares, channels - c);
    }
}

/* Joins the statistics of all images (Chan, Golub & LeVeque, 1983) to mean and biased variance. */
static void join(const real *means, const real *squares, int images, ptrdiff_t apart, int channels, double pixels,
                 real *mean, real *variance) {
    EACH(c, channels) {
        double total = 0, square = 0;
        EACH(b, images) total += means[b * apart + c];
        const double middle = total / images;
        EACH(b, images) square += squares[b * apart + c] + pixels * (means[b * apart + c] - middle) * (means[b * apart + c] - middle);
        mean[c] = (real)middle;
        variance[c] = (real)(square / (pixels * images));
    }
}
