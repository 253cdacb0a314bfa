// One operation layer of OWAN on the CPU for training, forward and backward, in float32.
//
// The unit of work is one tile: its maps stay in the core's cache, and nothing but the layer's input and output is kept for the
// backward pass; the maps in between are computed again, which is cheaper than fetching them from memory.
//
// The layer, with x >= 0 because every layer's input comes out of a ReLU:
//   y = x + relu( sum_i M_i d_i )
//   d_0     = relu(P_0 x)                                      1x1 separable, its depthwise scales folded into P_0 and M_0
//   d_1..3  = dw(K2_i, relu(P_i dw(K1_i, x)))                  3, 5, 7 separable
//   d_4..6  = dw(KD_i, x) at dilation 2                        3, 5, 7
//   d_7     = 3x3 mean that does not count the padding
// M_i (16x16 per tile) is join_i * pointwise_i * attention_i.
//
// Memory: x, y, gradients (B, H, W, 16); M, its gradient (B, 8, 16, 16) as [tile][op][out][in]; P (4, 16, 16) as [op][out][in];
// kernels (83, 16): the 9 + 25 + 49 taps of the 3, 5 and 7 kernels one after the other.

#pragma once
#include "threads.h"
#include "vectors.h"

static const int PAD = 6;

struct Shape {
    int height, width, stride;  // stride: pixels of a padded row
    size_t plane() const { return size_t(height + 2 * PAD) * stride; }
    pixel* inside(pixel* plane) const { return plane + size_t(PAD) * stride + PAD; }
};

// The rows that a convolution around a, which points into a padded plane, takes.
template <int K, int D>
struct Around {
    const pixel* rows[K];
    Around(const pixel* a, const Shape& s) {
        for (int dy = 0; dy < K; dy++) rows[dy] = a + (dy - K / 2) * D * s.stride;
    }
};

template <int D>
static void conv_row_any(int which, const pixel* a, pixel* b, const pixel* taps, const Shape& s) {
    if (which == 0) conv_row<3, D, false>(Around<3, D>(a, s).rows, b, taps, s.width);
    if (which == 1) conv_row<5, D, false>(Around<5, D>(a, s).rows, b, taps, s.width);
    if (which == 2) conv_row<7, D, false>(Around<7, D>(a, s).rows, b, taps, s.width);
}

// out (+)= depthwise convolution of in; both padded planes, of which only the inside of out is written.
template <int K, int D, bool ADD>
static void conv(pixel* in, pixel* out, const pixel* taps, const Shape& s) {
    for (int y = 0; y < s.height; y++)
        conv_row<K, D, ADD>(Around<K, D>(s.inside(in) + size_t(y) * s.stride, s).rows, s.inside(out) + size_t(y) * s.stride, taps,
                            s.width);
}

template <int D, bool ADD>
static void conv_any(int which, pixel* in, pixel* out, const pixel* taps, const Shape& s) {
    if (which == 0) conv<3, D, ADD>(in, out, taps, s);
    if (which == 1) conv<5, D, ADD>(in, out, taps, s);
    if (which == 2) conv<7, D, ADD>(in, out, taps, s);
}

// One row of pixels: sum[tap] += g * (a moved by the tap), for the kernel rows FROM..TO and one part of the channels.
template <int K, int D, int FROM, int TO>
static inline void tap_gradient_row(const pixel* a, const pixel* g, vec* grad, int q, const Shape& s) {
    vec sum[(TO - FROM) * K];
    for (auto& v : sum) v = vec{};
    for (int x = 0; x < s.width; x++) {
        const vec value = g[x].part[q];
#pragma GCC unroll 7
        for (int dy = FROM; dy < TO; dy++)
#pragma GCC unroll 7
            for (int dx = 0; dx < K; dx++)
                sum[(dy - FROM) * K + dx] += value * a[x + (dy - K / 2) * D * s.stride + (dx - K / 2) * D].part[q];
    }
    for (int i = 0; i < (TO - FROM) * K; i++) grad[FROM * K + i] += sum[i];
}

template <int K, int D, int FROM>
static inline void tap_gradient_rows(const pixel* a, const pixel* g, vec* grad, int q, const Shape& s) {
    constexpr int TO = smaller(K, FROM + tap_rows(K));
    tap_gradient_row<K, D, FROM, TO>(a, g, grad, q, s);
    if constexpr (TO < K) tap_gradient_rows<K, D, TO>(a, g, grad, q, s);
}

// grad[tap] += sum over pixels of g * (in moved by the tap).
template <int K, int D>
static void tap_gradient(pixel* in, pixel* g, pixel* grad, const Shape& s) {
    vec sum[PARTS][K * K] = {};
    for (int y = 0; y < s.height; y++)
        for (int q = 0; q < PARTS; q++)
            tap_gradient_rows<K, D, 0>(s.inside(in) + size_t(y) * s.stride, s.inside(g) + size_t(y) * s.stride, sum[q], q, s);
    for (int q = 0; q < PARTS; q++)
        for (int i = 0; i < K * K; i++) grad[i].part[q] += sum[q][i];
}

template <int D>
static void tap_gradient_any(int which, pixel* in, pixel* g, pixel* grad, const Shape& s) {
    if (which == 0) tap_gradient<3, D>(in, g, grad, s);
    if (which == 1) tap_gradient<5, D>(in, g, grad, s);
    if (which == 2) tap_gradient<7, D>(in, g, grad, s);
}

// out (+)= matrix * in at every pixel.
template <bool ADD, bool RELU>
static void pointwise(pixel* in, pixel* out, const pixel* columns, const Shape& s) {
    for (int y = 0; y < s.height; y++)
        pointwise_row<ADD, RELU>(s.inside(in) + size_t(y) * s.stride, s.inside(out) + size_t(y) * s.stride, columns, s.width);
}

// One row of pixels: grad[o][i] += g[o] * a[i], for ROWS rows of the matrix from `from`.
static inline void outer_row(const pixel* a, const pixel* g, pixel* grad, int from, int width) {
    vec sum[ROWS][PARTS] = {};
    for (int x = 0; x < width; x++) {
        const pixel value = a[x];
#pragma GCC unroll 16
        for (int o = 0; o < ROWS; o++) {
            const vec factor = splat(channel(g + x, from + o));
#pragma GCC unroll 4
            for (int q = 0; q < PARTS; q++) sum[o][q] += value.part[q] * factor;
        }
    }
    for (int o = 0; o < ROWS; o++)
        for (int q = 0; q < PARTS; q++) grad[from + o].part[q] += sum[o][q];
}

// grad[o][i] += sum over pixels of g[o] * in[i].
static void outer(pixel* in, pixel* g, pixel* grad, const Shape& s) {
    for (int y = 0; y < s.height; y++)
        for (int from = 0; from < C; from += ROWS)
            outer_row(s.inside(in) + size_t(y) * s.stride, s.inside(g) + size_t(y) * s.stride, grad, from, s.width);
}

static void scale_by_count(pixel* plane, const Shape& s) {
    for (int y = 0; y < s.height; y++) scale_row(s.inside(plane) + size_t(y) * s.stride, y, s.height, s.width);
}

static void keep_positive(pixel* g, pixel* value, const Shape& s) {
    for (int y = 0; y < s.height; y++) {
        pixel* a = s.inside(g) + size_t(y) * s.stride;
        const pixel* b = s.inside(value) + size_t(y) * s.stride;
        for (int x = 0; x < s.width; x++)
            for (int q = 0; q < PARTS; q++) a[x].part[q] = keep(a[x].part[q], b[x].part[q]);
    }
}

static void to_plane(const pixel* map, pixel* plane, const Shape& s) {
    for (int y = 0; y < s.height; y++)
        std::memcpy(s.inside(plane) + size_t(y) * s.stride, map + size_t(y) * s.width, size_t(s.width) * sizeof(pixel));
}

static void transpose(const float* matrix, pixel* columns) {
    for (int o = 0; o < C; o++)
        for (int i = 0; i < C; i++) ((float*)(columns + i))[o] = matrix[o * C + i];
}

static void flip(const pixel* taps, pixel* flipped) {
    for (int which = 0; which < 3; which++) {
        int k = 3 + 2 * which, first = FIRST[which];
        for (int i = 0; i < k * k; i++) flipped[first + i] = taps[first + k * k - 1 - i];
    }
}

// `planes` padded planes of zeros.
struct Padded {
    Pixels held;
    size_t plane;
    Padded(const Shape& s, int planes) : held(s.plane() * planes), plane(s.plane()) {}
    pixel* operator[](int i) { return held.memory + plane * i; }
};

// Row by row, so that what passes between two steps of an operation is still in the nearest cache.
static bool forward(const float* x, float* y, const float* m, const float* p, const float* k1, const float* k2,
                    const float* kd, int begin, int end, int height, int width) {
    const Shape s{height, width, width + 2 * PAD};
    const size_t pixels = size_t(height) * width;
    const pixel *first = (const pixel*)k1, *second = (const pixel*)k2, *wide = (const pixel*)kd;
    Padded planes(s, 4), rows(Shape{1, width, width + 2 * PAD}, 1);
    if (!planes.held || !rows.held) return false;
    {
        pixel *input = planes[0], *inner[3] = {planes[1], planes[2], planes[3]};
        pixel *row = rows[0], *sum = rows[0] + 2 * s.stride;
        pixel P[4][C], M[OPS][C];
        for (int i = 0; i < 4; i++) transpose(p + i * C * C, P[i]);
        for (int tile = begin; tile < end; tile++) {
            for (int i = 0; i < OPS; i++) transpose(m + (size_t(tile) * OPS + i) * C * C, M[i]);
            const pixel* in = (const pixel*)x + tile * pixels;
            pixel* out = (pixel*)y + tile * pixels;
            to_plane(in, input, s);
            for (int h = 0; h < height; h++)  // separable 3, 5, 7 up to their ReLU
                for (int i = 0; i < 3; i++) {
                    conv_row_any<1>(i, s.inside(input) + size_t(h) * s.stride, row, first + FIRST[i], s);
                    pointwise_row<false, true>(row, s.inside(inner[i]) + size_t(h) * s.stride, P[i + 1], width);
                }
            for (int h = 0; h < height; h++) {
                const pixel* a = s.inside(input) + size_t(h) * s.stride;
                pointwise_row<false, true>(a, row, P[0], width);
                pointwise_row<false, false>(row, sum, M[0], width);
                for (int i = 0; i < 3; i++) {
                    conv_row_any<1>(i, s.inside(inner[i]) + size_t(h) * s.stride, row, second + FIRST[i], s);
                    pointwise_row<true, false>(row, sum, M[i + 1], width);
                }
                for (int i = 0; i < 3; i++) {
                    conv_row_any<2>(i, a, row, wide + FIRST[i], s);
                    pointwise_row<true, false>(row, sum, M[i + 4], width);
                }
                conv_row<3, 1, false>(Around<3, 1>(a, s).rows, row, ONES.taps, width);
                scale_row(row, h, height, width);
                pointwise_row<true, false>(row, sum, M[7], width);
                for (int w = 0; w < width; w++)
                    for (int q = 0; q < PARTS; q++) out[h * size_t(width) + w].part[q] = a[w].part[q] + relu(sum[w].part[q]);
            }
        }
    }
    return true;
}

// gm is written; gp, gk1, gk2, gkd are added to and must come as zeros.
static bool backward(const float* x, const float* y, const float* gy, float* gx, const float* m, const float* p,
                         const float* k1, const float* k2, const float* kd, float* gm, float* gp, float* gk1, float* gk2,
                         float* gkd, int begin, int end, int height, int width) {
    const Shape s{height, width, width + 2 * PAD};
    const size_t pixels = size_t(height) * width;
    const pixel *first = (const pixel*)k1, *second = (const pixel*)k2, *wide = (const pixel*)kd;
    pixel first_flipped[TAPS], second_flipped[TAPS], wide_flipped[TAPS];
    flip(first, first_flipped), flip(second, second_flipped), flip(wide, wide_flipped);
    Padded planes(s, 8);
    if (!planes.held) return false;
    {
        pixel *input = planes[0], *g = planes[1], *a = planes[2], *b = planes[3], *d = planes[4], *gd = planes[5],
            *gb = planes[6], *total = planes[7];
        pixel P[4][C], gP[4][C] = {}, gK1[TAPS] = {}, gK2[TAPS] = {}, gKD[TAPS] = {};
        for (int i = 0; i < 4; i++) transpose(p + i * C * C, P[i]);
        for (int tile = begin; tile < end; tile++) {
            // A matrix read as columns without transposing is its transpose: just what the backward pass needs.
            const pixel* MT = (const pixel*)m + size_t(tile) * OPS * C;
            const pixel* PT = (const pixel*)p;
            pixel* gM = (pixel*)gm + size_t(tile) * OPS * C;
            for (int i = 0; i < OPS * C; i++) gM[i] = pixel{};
            const pixel *in = (const pixel*)x + tile * pixels, *out = (const pixel*)y + tile * pixels;
            const pixel* gout = (const pixel*)gy + tile * pixels;
            to_plane(in, input, s);
            for (int row = 0; row < height; row++)
                for (int col = 0; col < width; col++) {
                    const size_t at = row * size_t(width) + col, to = size_t(row) * s.stride + col;
                    for (int q = 0; q < PARTS; q++) {
                        s.inside(g)[to].part[q] = keep(gout[at].part[q], out[at].part[q] - in[at].part[q]);
                        s.inside(total)[to].part[q] = keep(gout[at].part[q], out[at].part[q]);
                    }
                }
            // 1x1 separable
            pointwise<false, true>(input, d, P[0], s);
            outer(d, g, gM, s);
            pointwise<false, false>(g, gd, MT, s);
            keep_positive(gd, d, s);
            outer(input, gd, gP[0], s);
            pointwise<true, false>(gd, total, PT, s);
            for (int i = 0; i < 3; i++) {  // 3, 5, 7 separable
                conv_any<1, false>(i, input, a, first + FIRST[i], s);
                pointwise<false, true>(a, b, P[i + 1], s);
                conv_any<1, false>(i, b, d, second + FIRST[i], s);
                outer(d, g, gM + (i + 1) * C, s);
                pointwise<false, false>(g, gd, MT + (i + 1) * C, s);
                tap_gradient_any<1>(i, b, gd, gK2 + FIRST[i], s);
                conv_any<1, false>(i, gd, gb, second_flipped + FIRST[i], s);
                keep_positive(gb, b, s);
                outer(a, gb, gP[i + 1], s);
                pointwise<false, false>(gb, gd, PT + (i + 1) * C, s);
                tap_gradient_any<1>(i, input, gd, gK1 + FIRST[i], s);
                conv_any<1, true>(i, gd, total, first_flipped + FIRST[i], s);
            }
            for (int i = 0; i < 3; i++) {  // 3, 5, 7 dilated
                conv_any<2, false>(i, input, d, wide + FIRST[i], s);
                outer(d, g, gM + (i + 4) * C, s);
                pointwise<false, false>(g, gd, MT + (i + 4) * C, s);
                tap_gradient_any<2>(i, input, gd, gKD + FIRST[i], s);
                conv_any<2, true>(i, gd, total, wide_flipped + FIRST[i], s);
            }
            conv<3, 1, false>(input, d, ONES.taps, s);  // average pooling
            scale_by_count(d, s);
            outer(d, g, gM + 7 * C, s);
            pointwise<false, false>(g, gd, MT + 7 * C, s);
            scale_by_count(gd, s);
            conv<3, 1, true>(gd, total, ONES.taps, s);
            pixel* gin = (pixel*)gx + tile * pixels;
            for (int row = 0; row < height; row++)
                std::memcpy(gin + row * size_t(width), s.inside(total) + size_t(row) * s.stride,
                            size_t(width) * sizeof(pixel));
        }
        for (int i = 0; i < 4 * C; i++) add(((pixel*)gp)[i], ((pixel*)gP)[i]);
        for (int i = 0; i < TAPS; i++) {
            add(((pixel*)gk1)[i], gK1[i]);
            add(((pixel*)gk2)[i], gK2[i]);
            add(((pixel*)gkd)[i], gKD[i]);
        }
    }
    return true;
}

// What the outside calls: shares of the tiles on `threads` threads. 0, or 1 where memory ran out.
template <class Work>
static int shared_out(int tiles, int threads, const Work& work) {
    std::atomic<bool> failed{false};
    side_by_side(smaller(threads, tiles), [&](int rank, int size) {
        const int begin = int(int64_t(tiles) * rank / size), end = int(int64_t(tiles) * (rank + 1) / size);
        if (begin < end && !work(rank, begin, end)) failed = true;
    });
    return failed ? 1 : 0;
}

extern "C" int layer_forward(const float* x, float* y, const float* m, const float* p, const float* k1, const float* k2,
                             const float* kd, int tiles, int height, int width, int threads) {
    return shared_out(tiles, threads, [&](int, int begin, int end) {
        return forward(x, y, m, p, k1, k2, kd, begin, end, height, width);
    });
}

// gp, gk1, gk2 and gkd hold one gradient for each of `threads` threads, which the caller sums up.
extern "C" int layer_backward(const float* x, const float* y, const float* gy, float* gx, const float* m, const float* p,
                              const float* k1, const float* k2, const float* kd, float* gm, float* gp, float* gk1, float* gk2,
                              float* gkd, int tiles, int height, int width, int threads) {
    return shared_out(tiles, threads, [&](int rank, int begin, int end) {
        const size_t taps = size_t(rank) * TAPS * C;
        return backward(x, y, gy, gx, m, p, k1, k2, kd, gm, gp + size_t(rank) * 4 * C * C, gk1 + taps, gk2 + taps, gkd + taps,
                        begin, end, height, width);
    });
}
