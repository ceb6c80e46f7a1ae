/* The gradients of one depthwise convolution of channels_last maps; every block of channels is on its own. */
#include "maps.h"

typedef struct {
    int images, channels, height, width, rows, columns, kernel, stride, dilation, chunks, threads;
} Depthwise;

static Window window_of(const Depthwise *d) {
    const int margin = d->kernel / 2 * d->dilation;
    return (Window){d->kernel, d->dilation, d->stride, d->rows, d->columns, margin, d->width + 2 * margin};
}

/* Copies a block of channels of an image, with a margin. */
static void enter_block(const real *x, int height, int width, int channels, int count, int margin, real *out) {
    EACH(y, height) EACH(i, width) {
        real *to = out + ((ptrdiff_t)(y + margin) * (width + 2 * margin) + i + margin) * LANES;
        put(to, load(x + ((ptrdiff_t)y * width + i) * channels, count));
    }
}

static void leave_block(const real *in, ptrdiff_t pixels, int channels, int count, real *out) {
    for (ptrdiff_t p = 0; p < pixels; p++) store(out + p * channels, at(in + p * LANES), count);
}

/* `x_gradient` and `weight_gradient` may be NULL. Returns 0, or 1 if there is no memory. */
int depthwise_backward(const Depthwise *d, const real *x, const real *weight, const real *gradient, real *x_gradient,
                       real *weight_gradient) {
    const Window w = window_of(d);
    const int channels = d->channels, blocks = padded(channels) / LANES, taps = d->kernel * d->kernel;
    const int inflated_wide = d->columns + 2 * w.margin;
    const ptrdiff_t pixels = (ptrdiff_t)d->rows * d->columns, area = (ptrdiff_t)d->height * d->width;
    const ptrdiff_t size = (ptrdiff_t)(d->height + 2 * w.margin) * w.wide * LANES, part = (ptrdiff_t)taps * LANES;
    int failed = 0;
    real *packed = zeros(blocks * part, &failed), *sums = zeros(d->chunks * blocks * part, &failed);
    if (!failed) pack_depthwise(weight, channels, taps, packed);
#pragma omp parallel num_threads(d->threads)
    {
        int none = failed;
        real *entered = zeros(size, &none), *g = buffer(pixels * LANES, &none), *back = buffer(area * LANES, &none);
        real *inflated = zeros((ptrdiff_t)(d->rows + 2 * w.margin) * inflated_wide * LANES, &none);
        if (none) {
#pragma omp atomic write
            failed = 1;
        }
#pragma omp for schedule(static)
        for (int each = 0; each < d->chunks * blocks; each++) {
            const int chunk = each / blocks, block = each % blocks, c = block * LANES;
            if (none) continue;
            const int from = (int)((ptrdiff_t)d->images * chunk / d->chunks);
            const int to = (int)((ptrdiff_t)d->images * (chunk + 1) / d->chunks);
            for (int b = from; b < to; b++) {
                const real *own = gradient + b * pixels * channels + c;
                if (weight_gradient) {
                    enter_block(x + b * area * channels + c, d->height, d->width, channels, channels - c, w.margin,
                                entered);
                    enter_block(own, d->rows, d->columns, channels, channels - c, 0, g);
                    depthwise_weight(w, entered, g, LANES, sums + each * part);
                }
                if (x_gradient) {
                    enter_block(own, d->rows, d->columns, channels, channels - c, w.margin, inflated);
                    memset(back, 0, (size_t)(area * LANES) * sizeof(real));
                    depthwise_input(w, inflated, w.margin, inflated_wide, packed + block * part, back, LANES, d->height,
                                    d->width);
                    leave_block(back, area, channels, channels - c, x_gradient + b * area * channels + c);
                }
            }
        }
        free(entered), free(g), free(back), free(inflated);
    }
    if (!failed && weight_gradient) EACH(c, channels) EACH(t, taps) {
        const ptrdiff_t at = (c / LANES) * part + t * LANES + c % LANES;
        double total = 0;
        EACH(chunk, d->chunks) total += sums[chunk * blocks * part + at];
        weight_gradient[c * taps + t] = (real)total;
    }
    free(packed), free(sums);
    return failed;
}
