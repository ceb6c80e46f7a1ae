/* Separable convolutions of channels_last maps, forward and backward, for all candidates that read one map.
 *
 * A candidate is [ReLU, depthwise, pointwise, norm] once or twice; its last norm is weighed and added to the sum of a
 * target. Ready maps (a pooling, the input itself) are weighed for every target too. Maps in front of norms are kept
 * (`saved`), everything else is computed again in the backward pass.
 */
#include "maps.h"

/* What all candidates of a call have in common; `chunks` of images are worked on in parallel. */
typedef struct {
    int images, channels, height, width, rows, columns, stride, candidates, doubles, targets, maps, chunks, threads;
} Problem;

typedef struct {
    int kernel, dilation, target, second; /* second: number of its second half, -1 where there is none */
    double eps, middle_eps;
} Candidate;

typedef struct {
    const Problem *p;
    const Candidate *all;
    int wide, blocks, outer, inner; /* margins of the input's and of the middle's padded maps */
    ptrdiff_t pixels, map, packed;  /* of a map: pixels, reals; of the packed weights of a half of a candidate: reals */
} Plan;

static Plan planned(const Problem *p, const Candidate *all) {
    Plan plan = {p, all, padded(p->channels), padded(p->channels) / LANES, 0, 0, (ptrdiff_t)p->rows * p->columns, 0, 0};
    int kernel = 1;
    EACH(j, p->candidates) {
        const int half = all[j].kernel / 2;
        if (half * all[j].dilation > plan.outer) plan.outer = half * all[j].dilation;
        if (all[j].second >= 0 && half > plan.inner) plan.inner = half;
        if (all[j].kernel > kernel) kernel = all[j].kernel;
    }
    plan.map = plan.pixels * p->channels;
    plan.packed = (ptrdiff_t)kernel * kernel * plan.wide + (ptrdiff_t)plan.wide * plan.wide;
    return plan;
}

static int halves(const Plan *plan) { return plan->p->candidates + plan->p->doubles; }
static int first_image(const Problem *p, int chunk) { return (int)((ptrdiff_t)p->images * chunk / p->chunks); }

/* The map in front of the first norm of a candidate. Maps are the last ones of all, then the first ones of doubles. */
static int front(const Plan *plan, int j) {
    return plan->all[j].second < 0 ? j : plan->p->candidates + plan->all[j].second;
}

/* The window of a half; the first half strides and dilates. */
static Window window(const Plan *plan, int j, int second) {
    const Problem *p = plan->p;
    const int margin = second ? plan->inner : plan->outer;
    return (Window){plan->all[j].kernel,
                    second ? 1 : plan->all[j].dilation,
                    second ? 1 : p->stride,
                    p->rows,
                    p->columns,
                    margin,
                    (second ? p->columns : p->width) + 2 * margin};
}

static ptrdiff_t entered_size(const Plan *plan, int second) {
    const Problem *p = plan->p;
    const int margin = second ? plan->inner : plan->outer;
    const int height = second ? p->rows : p->height, width = second ? p->columns : p->width;
    return (ptrdiff_t)(height + 2 * margin) * (width + 2 * margin) * LANES; /* of a block of channels */
}

/* Packs weights [4 · candidate + 2 · half + (depthwise, pointwise)] for the forward pass, or turned for the gradient. */
static void pack(const Plan *plan, const real *const *weights, int turned, real *packed) {
#pragma omp parallel for num_threads(plan->p->threads) schedule(dynamic)
    for (int j = 0; j < plan->p->candidates; j++) EACH(second, 1 + (plan->all[j].second >= 0)) {
        real *to = packed + (second ? j : front(plan, j)) * plan->packed;
        const int taps = plan->all[j].kernel * plan->all[j].kernel;
        pack_depthwise(weights[4 * j + 2 * second], plan->p->channels, taps, to);
        pack_pointwise(weights[4 * j + 2 * second + 1], plan->p->channels, turned, to + (ptrdiff_t)taps * plan->wide);
    }
}

static const real *pointwise_part(const Plan *plan, int j, const real *packed) {
    return packed + (ptrdiff_t)plan->all[j].kernel * plan->all[j].kernel * plan->wide;
}

static void all_depthwise(const Plan *plan, int j, int second, const real *entered, const real *packed, real *out) {
    const int taps = plan->all[j].kernel * plan->all[j].kernel;
    EACH(block, plan->blocks) {
        depthwise(window(plan, j, second), entered + block * entered_size(plan, second),
                  packed + (ptrdiff_t)block * taps * LANES, out + block * LANES, plan->wide);
    }
}

/* Returns gamma / √(variance + eps) and beta - mean · that, of the norm in the middle of a double. */
static void middle_norm(const Plan *plan, int j, const real *gamma, const real *beta, const real *mean,
                        const real *variance, real *scale, real *shift) {
    const int channels = plan->p->channels;
    const ptrdiff_t row = (ptrdiff_t)plan->all[j].second * channels, at = (ptrdiff_t)front(plan, j) * channels;
    EACH(c, channels) {
        scale[c] = (gamma ? gamma[row + c] : 1) / sqrt(variance[at + c] + plan->all[j].middle_eps);
        shift[c] = (beta ? beta[row + c] : 0) - mean[at + c] * scale[c];
    }
}

/* Sums of all targets, maps in front of norms (`saved`) with their statistics. `mix` weighs the ready maps,
 * [map][target]. totals[target] may be NULL.
 * Returns 0, or 1 if there is no memory. */
int separable_forward(const Problem *p, const Candidate *all, const real *x, const real *const *weights, const real *scale,
            const real *shift, const real *gamma, const real *beta, const real *const *ready, const real *mix,
            const real *const *totals, real *const *out, real *saved, real *mean, real *variance) {
    const Plan plan = planned(p, all);
    const int maps = halves(&plan), channels = p->channels;
    int failed = 0;
    const ptrdiff_t apart = (ptrdiff_t)maps * channels, whole = p->images * plan.map;
    real *packed = zeros(maps * plan.packed, &failed);
    real *means = buffer(p->images * apart, &failed), *squares = buffer(p->images * apart, &failed);
    real *norms = buffer(2 * (ptrdiff_t)p->doubles * channels, &failed);
    if (!failed) pack(&plan, weights, 0, packed);
    EACH(second, 1 + (p->doubles > 0)) {
        if (failed) break;
        EACH(j, p->candidates) if (second && all[j].second >= 0) {
            real *own = norms + 2 * (ptrdiff_t)all[j].second * channels;
            middle_norm(&plan, j, gamma, beta, mean, variance, own, own + channels);
        }
#pragma omp parallel num_threads(p->threads)
        {
            int none = 0;
            real *entered = zeros(plan.blocks * entered_size(&plan, second), &none);
            real *inner = buffer(plan.pixels * plan.wide, &none), *own_h = buffer(plan.pixels * plan.wide, &none);
            if (none) {
#pragma omp atomic write
                failed = 1;
            }
#pragma omp for schedule(dynamic)
            for (int chunk = 0; chunk < p->chunks; chunk++) {
                for (int b = first_image(p, chunk); !none && b < first_image(p, chunk + 1); b++) {
                    if (!second) {
                        enter(x + (ptrdiff_t)b * p->height * p->width * channels, p->height, p->width, channels,
                              plan.outer, NULL, NULL, entered);
                    }
                    EACH(j, p->candidates) {
                        if (second && all[j].second < 0) continue;
                        const int map = second ? j : front(&plan, j);
                        const real *own = packed + map * plan.packed;
                        if (second) {
                            const real *norm = norms + 2 * (ptrdiff_t)all[j].second * channels;
                            enter(saved + front(&plan, j) * whole + b * plan.map, p->rows, p->columns, channels,
                                  plan.inner, norm, norm + channels, entered);
                        }
                        real *kept = saved + map * whole + b * plan.map, *h = plan.wide == channels ? kept : own_h;
                        all_depthwise(&plan, j, second, entered, own, inner);
                        pointwise(inner, (int)plan.pixels, channels, pointwise_part(&plan, j, own), h);
                        if (h != kept) leave(h, plan.pixels, channels, kept);
                        const ptrdiff_t place = b * apart + (ptrdiff_t)map * channels;
                        measure(h, p->rows, p->columns, channels, means + place, squares + place);
                    }
                }
            }
            free(entered), free(inner), free(own_h);
        }
        EACH(j, p->candidates) {
            if (failed || (second && all[j].second < 0)) continue;
            const ptrdiff_t map = (second ? j : front(&plan, j)) * (ptrdiff_t)channels;
            join(means + map, squares + map, p->images, apart, channels, plan.pixels, mean + map, variance + map);
        }
    }
    if (!failed) {
        EACH(j, p->candidates) EACH(c, channels) {
            squares[j * channels + c] = scale[j * channels + c] / sqrt(variance[j * channels + c] + all[j].eps);
        }
#pragma omp parallel for num_threads(p->threads) schedule(static)
        for (int b = 0; b < p->images; b++) {
            EACH(target, p->targets) for (ptrdiff_t pixel = 0; pixel < plan.pixels; pixel++) {
                const ptrdiff_t place = b * plan.map + pixel * channels;
                for (int c = 0; c < channels; c += LANES) {
                    const int count = channels - c;
                    vec sum = totals[target] ? load(totals[target] + place + c, count) : (vec){0};
                    if (shift) sum += load(shift + target * channels + c, count);
                    EACH(j, p->candidates) if (all[j].target == target) {
                        const vec h = load(saved + j * whole + place + c, count);
                        sum += load(squares + j * channels + c, count) * (h - load(mean + j * channels + c, count));
                    }
                    EACH(m, p->maps) sum += mix[m * p->targets + target] * load(ready[m] + place + c, count);
                    store(out[target] + place + c, sum, count);
                }
            }
        }
    }
    free(packed), free(means), free(squares), free(norms);
    return failed;
}

/* Adds Σ g and Σ g · (h - mean) of an image to `plain` and `centered`: rows first. */
static void moments(const real *g, const real *h, int rows, int columns, int channels, const real *mean, real *plain,
                    real *centered) {
    for (int c = 0; c < channels; c += LANES) {
        const int count = channels - c;
        const vec middle = load(mean + c, count);
        vec total = {0}, product = {0};
        EACH(y, rows) {
            vec sum = {0}, with = {0};
            EACH(x, columns) {
                const ptrdiff_t place = ((ptrdiff_t)y * columns + x) * channels + c;
                const vec v = load(g + place, count);
                sum += v;
                with += v * (load(h + place, count) - middle);
            }
            total += sum;
            product += with;
        }
        store(plain + c, total, count);
        store(centered + c, product, count);
    }
}

/* Turns the sums of all images into the gradients of a norm's scale and shift, and into the `terms` of its input's. */
static void norm_gradient(const real *plain, const real *centered, int images, ptrdiff_t apart, int channels,
                          double pixels, const real *scale, double eps, const real *mean, const real *variance,
                          real *to_scale, real *to_shift, real *terms) {
    const double count = pixels * images;
    EACH(c, channels) {
        double total = 0, product = 0;
        EACH(b, images) total += plain[b * apart + c], product += centered[b * apart + c];
        const double r = 1 / sqrt(variance[c] + eps), s = (scale ? scale[c] : 1) * r;
        if (to_scale) to_scale[c] = (real)(r * product);
        if (to_shift) to_shift[c] = (real)total;
        terms[c] = (real)s;
        terms[channels + c] = (real)(total / count);
        terms[2 * channels + c] = (real)(r * r * product / count);
        terms[3 * channels + c] = mean[c];
    }
}

/* Writes a map's gradient where the activated map in front of it is above 0. */
static void leave_active(const real *gradient, const real *entered, ptrdiff_t block_size, int margin, int height,
                         int width, int channels, real *out) {
    const int wide = padded(channels);
    for (int block = 0, c = 0; c < channels; block++, c += LANES) EACH(y, height) {
        const real *v = entered + block * block_size + ((ptrdiff_t)(y + margin) * (width + 2 * margin) + margin) * LANES;
        EACH(x, width) {
            const ptrdiff_t pixel = (ptrdiff_t)y * width + x;
            const mask on = at(v + x * LANES) > 0;
            store(out + pixel * channels + c, (vec)((mask)at(gradient + pixel * wide + c) & on), channels - c);
        }
    }
}

/* Works through one half of a candidate on one image: from the gradient of the map in front of its norm to those of
 * the entered map (added to `back`) and of the weights (added to `sums`, NULL where they are not asked for). */
static void backward_half(const Plan *plan, int j, int second, const real *entered, const real *gradient,
                          const real *packed, const real *turned, real *inner, real *inflated, real *sums, real *back) {
    const Problem *p = plan->p;
    const Window w = window(plan, j, second);
    const int taps = w.kernel * w.kernel, border = w.kernel / 2 * w.dilation, wide = w.columns + 2 * border;
    if (sums) {
        all_depthwise(plan, j, second, entered, packed, inner);
        pointwise_weight(inner, gradient, w.rows, w.columns, p->channels, sums + (ptrdiff_t)taps * plan->wide);
    }
    pointwise(gradient, (int)plan->pixels, p->channels, pointwise_part(plan, j, turned), inner);
    EACH(block, plan->blocks) {
        const ptrdiff_t part = (ptrdiff_t)block * taps * LANES;
        if (sums) {
            depthwise_weight(w, entered + block * entered_size(plan, second), inner + block * LANES, plan->wide,
                             sums + part);
        }
        if (!back) continue;
        memset(inflated, 0, (size_t)(w.rows + 2 * border) * wide * LANES * sizeof(real));
        EACH(y, w.rows) EACH(x, w.columns) {
            put(inflated + ((ptrdiff_t)(y + border) * wide + x + border) * LANES,
                at(inner + ((ptrdiff_t)y * w.columns + x) * plan->wide + block * LANES));
        }
        depthwise_input(w, inflated, border, wide, turned + part, back + block * LANES, plan->wide,
                        second ? p->rows : p->height, second ? p->columns : p->width);
    }
}

/* Σ_t mix[t] · gradients[t] of an image, and for each target Σ gradients[t] · map: rows first. */
static void mixed_gradient(const Problem *p, const real *map, const real *mix, const real *const *gradients,
                           ptrdiff_t start, real *out, real *products) {
    const int channels = p->channels;
    vec sums[p->targets];
    EACH(t, p->targets) sums[t] = (vec){0};
    EACH(y, p->rows) {
        vec row[p->targets];
        EACH(t, p->targets) row[t] = (vec){0};
        EACH(x, p->columns) for (int c = 0; c < channels; c += LANES) {
            const ptrdiff_t place = start + ((ptrdiff_t)y * p->columns + x) * channels + c;
            const vec v = load(map + place, channels - c);
            vec sum = {0};
            EACH(t, p->targets) {
                const vec g = load(gradients[t] + place, channels - c);
                sum += mix[t] * g;
                row[t] += g * v;
            }
            store(out + place, sum, channels - c);
        }
        EACH(t, p->targets) sums[t] += row[t];
    }
    EACH(t, p->targets) {
        real total = 0;
        EACH(i, LANES) total += sums[t][i];
        products[t] = total;
    }
}

/* Adds up the chunks' gradients of the weights of one half of a candidate. */
static void add_up(const Plan *plan, int j, int second, const real *sums, real *const *weight_gradients) {
    const int channels = plan->p->channels, chunks = plan->p->chunks, wide = plan->wide;
    const int taps = plan->all[j].kernel * plan->all[j].kernel;
    const ptrdiff_t apart = halves(plan) * plan->packed;
    const real *from = sums + (second ? j : front(plan, j)) * plan->packed;
    real *depthwise = weight_gradients[4 * j + 2 * second], *pointwise = weight_gradients[4 * j + 2 * second + 1];
    EACH(c, channels) EACH(t, taps) {
        const ptrdiff_t at = ((ptrdiff_t)(c / LANES) * taps + t) * LANES + c % LANES;
        double total = 0;
        EACH(chunk, chunks) total += from[chunk * apart + at];
        depthwise[c * taps + t] = (real)total;
    }
    from += (ptrdiff_t)taps * wide;
    EACH(i, channels) for (int o = 0; o < channels; o += LANES) {
        vec total = {0};
        EACH(chunk, chunks) total += at(from + chunk * apart + (ptrdiff_t)i * wide + o);
        for (int k = 0; k < LANES && o + k < channels; k++) pointwise[(ptrdiff_t)(o + k) * channels + i] = total[k];
    }
}

/* Gradients of everything that `separable_forward` reads, from those of its sums. `x_gradient` and `weight_gradients` may be
 * NULL. Returns 0, or 1 if there is no memory. */
int separable_backward(const Problem *p, const Candidate *all, const real *x, const real *const *weights, const real *scale,
             const real *gamma, const real *beta, const real *const *ready, const real *mix, const real *saved,
             const real *mean, const real *variance, const real *const *gradients, real *x_gradient,
             real *const *weight_gradients, real *scale_gradient, real *shift_gradient, real *gamma_gradient,
             real *beta_gradient, real *const *ready_gradients, real *mix_gradient) {
    const Plan plan = planned(p, all);
    const int maps = halves(&plan), channels = p->channels;
    const ptrdiff_t apart = (ptrdiff_t)maps * channels, whole = p->images * plan.map, sums_size = maps * plan.packed;
    int failed = 0;
    real *packed = zeros(maps * plan.packed, &failed), *turned = zeros(maps * plan.packed, &failed);
    real *plain = buffer(p->images * apart, &failed), *centered = buffer(p->images * apart, &failed);
    real *terms = buffer(4 * apart, &failed), *norms = buffer(2 * (ptrdiff_t)p->doubles * channels, &failed);
    real *middles = buffer(p->doubles * whole, &failed); /* gradients in front of the ReLUs in the middle */
    real *sums = weight_gradients ? zeros(p->chunks * sums_size, &failed) : NULL;
    const int weighed = p->maps * p->targets;
    real *products = buffer((ptrdiff_t)p->images * weighed, &failed);
    if (!failed) {
        pack(&plan, weights, 0, packed);
        pack(&plan, weights, 1, turned);
        EACH(j, p->candidates) if (all[j].second >= 0) {
            real *own = norms + 2 * (ptrdiff_t)all[j].second * channels;
            middle_norm(&plan, j, gamma, beta, mean, variance, own, own + channels);
        }
#pragma omp parallel for num_threads(p->threads) schedule(static)
        for (int b = 0; b < p->images; b++) {
            EACH(j, p->candidates) {
                const ptrdiff_t place = b * apart + (ptrdiff_t)j * channels;
                moments(gradients[all[j].target] + b * plan.map, saved + j * whole + b * plan.map, p->rows, p->columns,
                        channels, mean + (ptrdiff_t)j * channels, plain + place, centered + place);
            }
            EACH(m, p->maps) {
                const ptrdiff_t place = (ptrdiff_t)b * weighed + m * p->targets;
                mixed_gradient(p, ready[m], mix + m * p->targets, gradients, b * plan.map, ready_gradients[m],
                               products + place);
            }
        }
        EACH(i, weighed) {
            double total = 0;
            EACH(b, p->images) total += products[(ptrdiff_t)b * weighed + i];
            mix_gradient[i] = (real)total;
        }
        EACH(j, p->candidates) {
            const ptrdiff_t at = (ptrdiff_t)j * channels;
            norm_gradient(plain + at, centered + at, p->images, apart, channels, plan.pixels, scale + at, all[j].eps,
                          mean + at, variance + at, scale_gradient + at,
                          shift_gradient ? shift_gradient + (ptrdiff_t)all[j].target * channels : NULL, terms + 4 * at);
        }
    }
    for (int second = p->doubles > 0; second >= 0; second--) {
        if (failed) break;
        const int height = second ? p->rows : p->height, width = second ? p->columns : p->width;
        const ptrdiff_t pixels = (ptrdiff_t)height * width;
        const int returns = second || x_gradient;
#pragma omp parallel num_threads(p->threads)
        {
            int none = 0;
            real *entered = zeros(plan.blocks * entered_size(&plan, second), &none);
            real *gradient = buffer(plan.pixels * plan.wide, &none), *inner = buffer(plan.pixels * plan.wide, &none);
            const int border = second ? plan.inner : plan.outer;
            real *inflated = buffer((ptrdiff_t)(p->rows + 2 * border) * (p->columns + 2 * border) * LANES, &none);
            real *back = returns ? buffer(pixels * plan.wide, &none) : NULL;
            if (none) {
#pragma omp atomic write
                failed = 1;
            }
#pragma omp for schedule(dynamic)
            for (int chunk = 0; chunk < p->chunks; chunk++) {
                for (int b = first_image(p, chunk); !none && b < first_image(p, chunk + 1); b++) {
                    if (!second) {
                        enter(x + (ptrdiff_t)b * pixels * channels, height, width, channels, plan.outer, NULL, NULL,
                              entered);
                        if (back) memset(back, 0, (size_t)(pixels * plan.wide) * sizeof(real));
                    }
                    EACH(j, p->candidates) {
                        if (second && all[j].second < 0) continue;
                        const int map = second ? j : front(&plan, j);
                        const real *g = second || map == j ? gradients[all[j].target] : middles + all[j].second * whole;
                        if (second) {
                            const real *norm = norms + 2 * (ptrdiff_t)all[j].second * channels;
                            enter(saved + front(&plan, j) * whole + b * plan.map, height, width, channels, plan.inner,
                                  norm, norm + channels, entered);
                            memset(back, 0, (size_t)(pixels * plan.wide) * sizeof(real));
                        }
                        enter_gradient(g + b * plan.map, saved + map * whole + b * plan.map, plan.pixels, channels,
                                       terms + 4 * (ptrdiff_t)map * channels, gradient);
                        backward_half(&plan, j, second, entered, gradient, packed + map * plan.packed,
                                      turned + map * plan.packed, inner, inflated,
                                      sums ? sums + chunk * sums_size + map * plan.packed : NULL, back);
                        if (second) {
                            real *middle = middles + all[j].second * whole + b * plan.map;
                            const ptrdiff_t at = (ptrdiff_t)front(&plan, j) * channels, place = b * apart + at;
                            leave_active(back, entered, entered_size(&plan, 1), plan.inner, height, width, channels,
                                         middle);
                            moments(middle, saved + front(&plan, j) * whole + b * plan.map, height, width, channels,
                                    mean + at, plain + place, centered + place);
                        }
                    }
                    if (!second && back) {
                        leave_active(back, entered, entered_size(&plan, 0), plan.outer, height, width, channels,
                                     x_gradient + (ptrdiff_t)b * pixels * channels);
                    }
                }
            }
            free(entered), free(gradient), free(inner), free(inflated), free(back);
        }
        if (second && !failed) EACH(j, p->candidates) if (all[j].second >= 0) {
            const ptrdiff_t at = (ptrdiff_t)front(&plan, j) * channels, row = (ptrdiff_t)all[j].second * channels;
            norm_gradient(plain + at, centered + at, p->images, apart, channels, plan.pixels,
                          gamma ? gamma + row : NULL, all[j].middle_eps, mean + at, variance + at,
                          gamma_gradient ? gamma_gradient + row : NULL, beta_gradient ? beta_gradient + row : NULL,
                          terms + 4 * at);
        }
    }
    if (!failed && sums) {
#pragma omp parallel for num_threads(p->threads) schedule(dynamic)
        for (int j = 0; j < p->candidates; j++) EACH(second, 1 + (all[j].second >= 0)) {
            add_up(&plan, j, second, sums, weight_gradients);
        }
    }
    free(packed), free(turned), free(plain), free(centered), free(terms), free(norms), free(middles), free(sums);
    free(products);
    return failed;
}
