// One operation layer of OWAN on the CPU, forward and backward, for 16 channels in float32, of the tiles begin..end of a batch.
// Callers share a batch's tiles out among threads.
//
// A pixel's 16 channels are one vector register, so a depthwise tap is one multiply-add and a 16x16 pointwise convolution
// sixteen. The unit of work is one tile: its maps stay in the core's cache, and nothing but the layer's input and output
// is kept for the backward pass; the maps in between are computed again, which is cheaper than fetching them from memory.
//
// The layer, with x >= 0 because every layer's input comes out of a ReLU:
//   y = x + relu( sum_i M_i d_i )
//   d_0     = relu(P_0 x)                                      1x1 separable, its depthwise scales folded into P_0 and M_0
//   d_1..3  = dw(K2_i, relu(P_i dw(K1_i, x)))                  3, 5, 7 separable
//   d_4..6  = dw(KD_i, x) at dilation 2                        3, 5, 7
//   d_7     = 3x3 mean that does not count the padding
// M_i (16x16 per tile) is join_i * pointwise_i * attention_i. Matrices come as columns: column c holds the factors of input c.
//
// Memory: x, y, gradients (B, H, W, 16); M, its gradient (B, 8, 16, 16) as [tile][op][out][in]; P (4, 16, 16) as [op][out][in];
// kernels (83, 16): the 9 + 25 + 49 taps of the 3, 5 and 7 kernels one after the other.

#include <cstdint>
#include <cstdlib>
#include <cstring>

typedef float vec __attribute__((vector_size(64)));

static const int C = 16, OPS = 8, PAD = 6, TAPS = 83;
static const int FIRST[3] = {0, 9, 34};  // where the taps of the 3, 5 and 7 kernels begin

struct Shape {
    int height, width, stride;  // stride: pixels of a padded row
    size_t plane() const { return size_t(height + 2 * PAD) * stride; }
    vec* inside(vec* plane) const { return plane + size_t(PAD) * stride + PAD; }
};

static inline vec splat(float value) { return vec{} + value; }
static inline vec relu(vec value) { return value > 0 ? value : vec{}; }

template <int K, int D, bool ADD, int N>
static inline void conv_block(const vec* in, vec* out, const vec* taps, int stride) {
    vec sum[N];
    for (int n = 0; n < N; n++) sum[n] = ADD ? out[n] : vec{};
#pragma GCC unroll 1
    for (int dy = 0; dy < K; dy++) {
        const vec* row = in + (dy - K / 2) * D * stride - (K / 2) * D;
#pragma GCC unroll 7
        for (int dx = 0; dx < K; dx++) {
            const vec tap = taps[dy * K + dx];
#pragma GCC unroll 16
            for (int n = 0; n < N; n++) sum[n] += tap * row[dx * D + n];
        }
    }
    for (int n = 0; n < N; n++) out[n] = sum[n];
}

// One row: b (+)= depthwise convolution around a, which points into a padded plane.
template <int K, int D, bool ADD>
static void conv_row(const vec* a, vec* b, const vec* taps, const Shape& s) {
    int x = 0;
    for (; x + 12 <= s.width; x += 12) conv_block<K, D, ADD, 12>(a + x, b + x, taps, s.stride);
    if (x + 8 <= s.width) conv_block<K, D, ADD, 8>(a + x, b + x, taps, s.stride), x += 8;
    if (x + 4 <= s.width) conv_block<K, D, ADD, 4>(a + x, b + x, taps, s.stride), x += 4;
    for (; x < s.width; x++) conv_block<K, D, ADD, 1>(a + x, b + x, taps, s.stride);
}

template <int D>
static void conv_row_any(int which, const vec* a, vec* b, const vec* taps, const Shape& s) {
    if (which == 0) conv_row<3, D, false>(a, b, taps, s);
    if (which == 1) conv_row<5, D, false>(a, b, taps, s);
    if (which == 2) conv_row<7, D, false>(a, b, taps, s);
}

// out (+)= depthwise convolution of in; both padded planes, of which only the inside of out is written.
template <int K, int D, bool ADD>
static void conv(vec* in, vec* out, const vec* taps, const Shape& s) {
    for (int y = 0; y < s.height; y++)
        conv_row<K, D, ADD>(s.inside(in) + size_t(y) * s.stride, s.inside(out) + size_t(y) * s.stride, taps, s);
}

template <int D, bool ADD>
static void conv_any(int which, vec* in, vec* out, const vec* taps, const Shape& s) {
    if (which == 0) conv<3, D, ADD>(in, out, taps, s);
    if (which == 1) conv<5, D, ADD>(in, out, taps, s);
    if (which == 2) conv<7, D, ADD>(in, out, taps, s);
}

// grad[tap] += sum over pixels of g * (in moved by the tap), for kernel rows FROM..TO.
template <int K, int D, int FROM, int TO>
static void tap_gradient(vec* in, vec* g, vec* grad, const Shape& s) {
    vec sum[(TO - FROM) * K];
    for (auto& v : sum) v = vec{};
    for (int y = 0; y < s.height; y++) {
        const vec* a = s.inside(in) + size_t(y) * s.stride;
        const vec* b = s.inside(g) + size_t(y) * s.stride;
        for (int x = 0; x < s.width; x++) {
            const vec value = b[x];
#pragma GCC unroll 7
            for (int dy = FROM; dy < TO; dy++)
#pragma GCC unroll 7
                for (int dx = 0; dx < K; dx++)
                    sum[(dy - FROM) * K + dx] += value * a[x + (dy - K / 2) * D * s.stride + (dx - K / 2) * D];
        }
    }
    for (int i = 0; i < (TO - FROM) * K; i++) grad[FROM * K + i] += sum[i];
}

template <int D>
static void tap_gradient_any(int which, vec* in, vec* g, vec* grad, const Shape& s) {
    if (which == 0) tap_gradient<3, D, 0, 3>(in, g, grad, s);
    if (which == 1) tap_gradient<5, D, 0, 5>(in, g, grad, s);
    if (which == 2) tap_gradient<7, D, 0, 4>(in, g, grad, s), tap_gradient<7, D, 4, 7>(in, g, grad, s);
}

template <bool ADD, bool RELU, int N>
static inline void pointwise_block(const vec* in, vec* out, const vec* columns) {
    vec sum[N];
    for (int n = 0; n < N; n++) sum[n] = ADD ? out[n] : vec{};
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) {
        const vec column = columns[c];
#pragma GCC unroll 12
        for (int n = 0; n < N; n++) sum[n] += column * splat(((const float*)(in + n))[c]);
    }
    for (int n = 0; n < N; n++) out[n] = RELU ? relu(sum[n]) : sum[n];
}

// One row of `width` pixels: b (+)= matrix * a.
template <bool ADD, bool RELU>
static void pointwise_row(const vec* a, vec* b, const vec* columns, int width) {
    int x = 0;
    for (; x + 12 <= width; x += 12) pointwise_block<ADD, RELU, 12>(a + x, b + x, columns);
    for (; x + 4 <= width; x += 4) pointwise_block<ADD, RELU, 4>(a + x, b + x, columns);
    for (; x < width; x++) pointwise_block<ADD, RELU, 1>(a + x, b + x, columns);
}

// out (+)= matrix * in at every pixel.
template <bool ADD, bool RELU>
static void pointwise(vec* in, vec* out, const vec* columns, const Shape& s) {
    for (int y = 0; y < s.height; y++)
        pointwise_row<ADD, RELU>(s.inside(in) + size_t(y) * s.stride, s.inside(out) + size_t(y) * s.stride, columns, s.width);
}

// grad[o][i] += sum over pixels of g[o] * in[i].
static void outer(vec* in, vec* g, vec* grad, const Shape& s) {
    vec sum[C];
    for (auto& v : sum) v = vec{};
    for (int y = 0; y < s.height; y++) {
        const vec* a = s.inside(in) + size_t(y) * s.stride;
        const vec* b = s.inside(g) + size_t(y) * s.stride;
        for (int x = 0; x < s.width; x++) {
            const vec value = a[x];
#pragma GCC unroll 16
            for (int o = 0; o < C; o++) sum[o] += value * splat(((const float*)(b + x))[o]);
        }
    }
    for (int o = 0; o < C; o++) grad[o] += sum[o];
}

// The 3x3 mean without its padding is the 3x3 sum divided by how many pixels were inside.
static void scale_row(vec* a, int y, const Shape& s) {
    const int rows = 3 - (y == 0) - (y == s.height - 1);
    for (int x = 0; x < s.width; x++) a[x] *= splat(1.0f / float(rows * (3 - (x == 0) - (x == s.width - 1))));
}

static void scale_by_count(vec* plane, const Shape& s) {
    for (int y = 0; y < s.height; y++) scale_row(s.inside(plane) + size_t(y) * s.stride, y, s);
}

static void keep_positive(vec* g, vec* value, const Shape& s) {
    for (int y = 0; y < s.height; y++) {
        vec* a = s.inside(g) + size_t(y) * s.stride;
        const vec* b = s.inside(value) + size_t(y) * s.stride;
        for (int x = 0; x < s.width; x++) a[x] = b[x] > 0 ? a[x] : vec{};
    }
}

static void to_plane(const vec* map, vec* plane, const Shape& s) {
    for (int y = 0; y < s.height; y++)
        std::memcpy(s.inside(plane) + size_t(y) * s.stride, map + size_t(y) * s.width, size_t(s.width) * sizeof(vec));
}

static void transpose(const float* matrix, vec* columns) {
    for (int o = 0; o < C; o++)
        for (int i = 0; i < C; i++) ((float*)(columns + i))[o] = matrix[o * C + i];
}

static void flip(const vec* taps, vec* flipped) {
    for (int which = 0; which < 3; which++) {
        int k = 3 + 2 * which, first = FIRST[which];
        for (int i = 0; i < k * k; i++) flipped[first + i] = taps[first + k * k - 1 - i];
    }
}

struct Scratch {
    vec* memory;
    size_t plane;
    Scratch(const Shape& s, int planes) : plane(s.plane()) {
        size_t bytes = plane * planes * sizeof(vec);
        memory = (vec*)std::aligned_alloc(64, bytes);
        std::memset((void*)memory, 0, bytes);
    }
    ~Scratch() { std::free(memory); }
    vec* operator[](int i) { return memory + plane * i; }
};

struct Ones {
    vec taps[9];
    Ones() {
        for (auto& tap : taps) tap = splat(1.0f);
    }
};

// Row by row, so that what passes between two steps of an operation is still in the nearest cache.
extern "C" void forward(const float* x, float* y, const float* m, const float* p, const float* k1, const float* k2,
                        const float* kd, int begin, int end, int height, int width) {
    const Shape s{height, width, width + 2 * PAD};
    const size_t pixels = size_t(height) * width;
    const vec *first = (const vec*)k1, *second = (const vec*)k2, *wide = (const vec*)kd;
    {
        Scratch planes(s, 4), rows(Shape{1, width, width + 2 * PAD}, 1);
        vec *input = planes[0], *inner[3] = {planes[1], planes[2], planes[3]};
        vec *row = rows[0], *sum = rows[0] + 2 * s.stride;
        vec P[4][C], M[OPS][C];
        const Ones ones;
        for (int i = 0; i < 4; i++) transpose(p + i * C * C, P[i]);
        for (int tile = begin; tile < end; tile++) {
            for (int i = 0; i < OPS; i++) transpose(m + (size_t(tile) * OPS + i) * C * C, M[i]);
            const vec* in = (const vec*)x + tile * pixels;
            vec* out = (vec*)y + tile * pixels;
            to_plane(in, input, s);
            for (int h = 0; h < height; h++)  // separable 3, 5, 7 up to their ReLU
                for (int i = 0; i < 3; i++) {
                    conv_row_any<1>(i, s.inside(input) + size_t(h) * s.stride, row, first + FIRST[i], s);
                    pointwise_row<false, true>(row, s.inside(inner[i]) + size_t(h) * s.stride, P[i + 1], width);
                }
            for (int h = 0; h < height; h++) {
                const vec* a = s.inside(input) + size_t(h) * s.stride;
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
                conv_row<3, 1, false>(a, row, ones.taps, s);
                scale_row(row, h, s);
                pointwise_row<true, false>(row, sum, M[7], width);
                for (int w = 0; w < width; w++) out[size_t(h) * width + w] = in[size_t(h) * width + w] + relu(sum[w]);
            }
        }
    }
}

// gm is written; gp, gk1, gk2, gkd are added to and must come as zeros.
extern "C" void backward(const float* x, const float* y, const float* gy, float* gx, const float* m, const float* p,
                         const float* k1, const float* k2, const float* kd, float* gm, float* gp, float* gk1, float* gk2,
                         float* gkd, int begin, int end, int height, int width) {
    const Shape s{height, width, width + 2 * PAD};
    const size_t pixels = size_t(height) * width;
    const vec *first = (const vec*)k1, *second = (const vec*)k2, *wide = (const vec*)kd;
    vec first_flipped[TAPS], second_flipped[TAPS], wide_flipped[TAPS];
    flip(first, first_flipped), flip(second, second_flipped), flip(wide, wide_flipped);
    {
        Scratch planes(s, 8);
        vec *input = planes[0], *g = planes[1], *a = planes[2], *b = planes[3], *d = planes[4], *gd = planes[5],
            *gb = planes[6], *total = planes[7];
        vec P[4][C], gP[4][C] = {}, gK1[TAPS] = {}, gK2[TAPS] = {}, gKD[TAPS] = {};
        const Ones ones;
        for (int i = 0; i < 4; i++) transpose(p + i * C * C, P[i]);
        for (int tile = begin; tile < end; tile++) {
            // A matrix read as columns without transposing is its transpose: just what the backward pass needs.
            const vec* MT = (const vec*)m + size_t(tile) * OPS * C;
            const vec* PT = (const vec*)p;
            vec* gM = (vec*)gm + size_t(tile) * OPS * C;
            for (int i = 0; i < OPS * C; i++) gM[i] = vec{};
            const vec *in = (const vec*)x + tile * pixels, *out = (const vec*)y + tile * pixels;
            const vec* gout = (const vec*)gy + tile * pixels;
            to_plane(in, input, s);
            for (int row = 0; row < height; row++)
                for (int col = 0; col < width; col++) {
                    const size_t at = row * size_t(width) + col, to = size_t(row) * s.stride + col;
                    s.inside(g)[to] = out[at] > in[at] ? gout[at] : vec{};
                    s.inside(total)[to] = out[at] > 0 ? gout[at] : vec{};
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
            conv<3, 1, false>(input, d, ones.taps, s);  // average pooling
            scale_by_count(d, s);
            outer(d, g, gM + 7 * C, s);
            pointwise<false, false>(g, gd, MT + 7 * C, s);
            scale_by_count(gd, s);
            conv<3, 1, true>(gd, total, ones.taps, s);
            vec* gin = (vec*)gx + tile * pixels;
            for (int row = 0; row < height; row++)
                std::memcpy(gin + row * size_t(width), s.inside(total) + size_t(row) * s.stride,
                            size_t(width) * sizeof(vec));
        }
        {
            for (int i = 0; i < 4 * C; i++) ((vec*)gp)[i] += ((vec*)gP)[i];
            for (int i = 0; i < TAPS; i++) {
                ((vec*)gk1)[i] += gK1[i];
                ((vec*)gk2)[i] += gK2[i];
                ((vec*)gkd)[i] += gKD[i];
            }
        }
    }
}
