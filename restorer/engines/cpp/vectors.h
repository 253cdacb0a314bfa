// Vectors of 16 channels, and the two convolutions that OWAN is made of, row by row.
//
// A pixel's 16 channels are one vector register of AVX-512, two of AVX2 or four of NEON and SSE, so a depthwise tap is as many
// multiply-adds and a 16x16 pointwise convolution sixteen times as many. Blocks of pixels are as wide as the registers allow.
// Matrices come as columns: column c holds the factors of input c.

#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__AVX512F__)
static const int LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
static const int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
static const int LANES = 4, REGISTERS = 32;
#else
static const int LANES = 4, REGISTERS = 16;
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));

static const int C = 16, OPS = 8, TAPS = 83, PARTS = C / LANES;
static const int FIRST[3] = {0, 9, 34};  // where the taps of the 3, 5 and 7 kernels begin

struct alignas(64) pixel {  // its 16 channels; a map's pixel, a column of a matrix, or a tap of all channels
    vec part[PARTS];
};

static constexpr int smaller(int a, int b) { return a < b ? a : b; }
static constexpr int power_of_two(int most) { return most < 2 ? 1 : 2 * power_of_two(most / 2); }
// Sums that fit into the registers beside the operands of one step.
static const int PIXELS = smaller(12, (REGISTERS - PARTS - 1) / PARTS);                    // of a pointwise convolution
static const int ROWS = smaller(C, power_of_two((REGISTERS - PARTS - 1) / PARTS));         // of a matrix's gradient
static constexpr int tap_rows(int k) { return smaller(k, (REGISTERS - 2) / k); }           // of a kernel's gradient

static inline vec splat(float value) { return vec{} + value; }
static inline vec relu(vec value) { return vec{} > value ? vec{} : value; }  // NaN stays NaN
static inline vec keep(vec g, vec value) { return value > 0 ? g : vec{}; }
static inline float channel(const pixel* at, int c) { return ((const float*)at)[c]; }

static inline void add(pixel& to, const pixel& more) {
    for (int q = 0; q < PARTS; q++) to.part[q] += more.part[q];
}

// Memory of zeros for pixels; `operator bool` tells whether it was to be had.
struct Pixels {
    pixel* memory;
    explicit Pixels(size_t count) : memory((pixel*)std::aligned_alloc(64, (count ? count : 1) * sizeof(pixel))) {
        if (memory) std::memset((void*)memory, 0, count * sizeof(pixel));
    }
    Pixels(const Pixels&) = delete;
    ~Pixels() { std::free(memory); }
    explicit operator bool() const { return memory != nullptr; }
};

template <int K, int D, bool ADD, int N>
static inline void conv_block(const pixel* const* rows, int x, pixel* out, const pixel* taps) {
    for (int q = 0; q < PARTS; q++) {
        vec sum[N];
        for (int n = 0; n < N; n++) sum[n] = ADD ? out[n].part[q] : vec{};
#pragma GCC unroll 1
        for (int dy = 0; dy < K; dy++) {
            const pixel* row = rows[dy] + x - (K / 2) * D;
#pragma GCC unroll 7
            for (int dx = 0; dx < K; dx++) {
                const vec tap = taps[dy * K + dx].part[q];
#pragma GCC unroll 16
                for (int n = 0; n < N; n++) sum[n] += tap * row[dx * D + n].part[q];
            }
        }
        for (int n = 0; n < N; n++) out[n].part[q] = sum[n];
    }
}

// One row: b (+)= depthwise convolution of K rows, which are D rows of the map apart and have margins of (K / 2) * D pixels.
template <int K, int D, bool ADD>
static void conv_row(const pixel* const* rows, pixel* b, const pixel* taps, int width) {
    int x = 0;
    for (; x + 12 <= width; x += 12) conv_block<K, D, ADD, 12>(rows, x, b + x, taps);
    if (x + 8 <= width) conv_block<K, D, ADD, 8>(rows, x, b + x, taps), x += 8;
    if (x + 4 <= width) conv_block<K, D, ADD, 4>(rows, x, b + x, taps), x += 4;
    for (; x < width; x++) conv_block<K, D, ADD, 1>(rows, x, b + x, taps);
}

template <bool ADD, bool RELU, int N>
static inline void pointwise_block(const pixel* in, pixel* out, const pixel* columns) {
    vec sum[N][PARTS];
    for (int n = 0; n < N; n++)
        for (int q = 0; q < PARTS; q++) sum[n][q] = ADD ? out[n].part[q] : vec{};
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) {
        const pixel column = columns[c];
#pragma GCC unroll 12
        for (int n = 0; n < N; n++) {
            const vec value = splat(channel(in + n, c));
#pragma GCC unroll 4
            for (int q = 0; q < PARTS; q++) sum[n][q] += column.part[q] * value;
        }
    }
    for (int n = 0; n < N; n++)
        for (int q = 0; q < PARTS; q++) out[n].part[q] = RELU ? relu(sum[n][q]) : sum[n][q];
}

// One row of `width` pixels: b (+)= matrix * a; b may be a itself.
template <bool ADD, bool RELU>
static void pointwise_row(const pixel* a, pixel* b, const pixel* columns, int width) {
    constexpr int few = PIXELS < 6 ? 1 : PIXELS / 3;
    int x = 0;
    for (; x + PIXELS <= width; x += PIXELS) pointwise_block<ADD, RELU, PIXELS>(a + x, b + x, columns);
    for (; x + few <= width; x += few) pointwise_block<ADD, RELU, few>(a + x, b + x, columns);
    for (; x < width; x++) pointwise_block<ADD, RELU, 1>(a + x, b + x, columns);
}

// The 3x3 mean without its padding is the 3x3 sum divided by how many pixels were inside: row y of `height`.
static void scale_row(pixel* a, int y, int height, int width) {
    const int rows = 3 - (y == 0) - (y == height - 1);
    for (int x = 0; x < width; x++)
        for (vec& part : a[x].part) part *= splat(1.0f / float(rows * (3 - (x == 0) - (x == width - 1))));
}

static const struct Ones {
    pixel taps[9];
    Ones() {
        for (auto& tap : taps)
            for (vec& part : tap.part) part = splat(1.0f);
    }
} ONES;
