// OWAN for inference: feature extraction and the ten groups of operation layers, row by row, of one image by a team of threads.
//
// Each thread of a team has a band of rows; between two layers the team waits for its neighbours' rows. In a layer a row of the
// separable operations up to their ReLU is computed a few rows ahead of the row that needs it and kept in a ring, so that what
// passes between two steps stays in the nearest caches. A pixel's sums have the same order whatever the bands are, and means of
// whole maps are summed row by row: the number of threads changes no bit.
//
// A layer, with x >= 0 because every layer's input comes out of a ReLU (see `folding.py`):
//   y = x + relu( sum_i a_i M_i d_i )                          a: the attention weights, M: `last`, P: `first`
//   d_0     = relu(P_0 x)                                      1x1 separable
//   d_1..3  = dw(taps2_i, relu(P_i dw(taps1_i, x)))            3, 5, 7 separable
//   d_4..6  = dw(dilated_i, x) at dilation 2                   3, 5, 7
//   d_7     = 3x3 mean that does not count the padding

#pragma once
#include <cmath>

#include "threads.h"
#include "vectors.h"

static const int MARGIN = 6;  // pixels on both sides of a row: half of a dilated 7x7 kernel's reach
static const int REACH = 3;   // rows that a separable operation looks ahead
static const int RING = 8;    // rows of a ring, at least 2 * REACH + 1
static const int GROUPS = 10, LAYERS = 4, BLOCKS = 4, HIDDEN = 64;

// A map of pixels with margins of zeros, and a row of zeros that stands for every row outside.
struct Map {
    int height, width;
    Pixels held;
    Map(int height, int width) : height(height), width(width), held(size_t(height + 1) * (width + 2 * MARGIN)) {}
    pixel* row(int y) const {
        return held.memory + size_t(y < 0 || y >= height ? height : y) * (width + 2 * MARGIN) + MARGIN;
    }
};

template <int K, int D = 1>
struct Rows {  // the rows of a map that a convolution at row y takes
    const pixel* at[K];
    Rows(const Map& map, int y) {
        for (int dy = 0; dy < K; dy++) at[dy] = map.row(y + (dy - K / 2) * D);
    }
};

// Weights in the order in which they are needed; every block is as long as a whole number of pixels.
struct Cursor {
    const float* at;
    const float* floats(size_t count) { return at += count, at - count; }
    const pixel* pixels(size_t count) { return (const pixel*)floats(count * C); }
};

struct Layer {
    const pixel *last, *first, *taps1, *taps2, *dilated;
    Layer() = default;
    explicit Layer(Cursor& c)
        : last(c.pixels(OPS * C)), first(c.pixels(4 * C)), taps1(c.pixels(TAPS)), taps2(c.pixels(TAPS)), dilated(c.pixels(TAPS)) {}
};

enum Attention { INPUT = 0, NONE = 1, FIXED = 2 };

struct Group {
    const float *squeeze, *squeeze_bias, *expand, *expand_bias, *logits;
    const pixel* preprocess;
    Layer layers[LAYERS];
};

struct Network {
    int inputs, factor;
    Attention attention;
    const pixel *head, *residual[BLOCKS][2];
    Group groups[GROUPS];
    const float* ceilings;  // of each group's features
    Cursor rest;  // the weights of what brings the image back

    Network(const float* weights, int factor, int kind) : inputs(3 * factor * factor), factor(factor), attention(Attention(kind)) {
        Cursor c{weights};
        head = c.pixels(size_t(inputs) * 9);
        for (auto& block : residual)
            for (auto& taps : block) taps = c.pixels(9);
        for (Group& group : groups) {
            if (attention == INPUT) {
                group.squeeze = c.floats(HIDDEN * C), group.squeeze_bias = c.floats(HIDDEN);
                group.expand = c.floats(LAYERS * OPS * HIDDEN), group.expand_bias = c.floats(LAYERS * OPS);
            }
            if (attention == FIXED) group.logits = c.floats(C);
            group.preprocess = c.pixels(C);
            for (Layer& layer : group.layers) layer = Layer(c);
        }
        ceilings = c.floats(C);
        rest = c;
    }
};

// Working memory of one thread.
struct Scratch {
    int stride;
    Pixels held;
    explicit Scratch(int width) : stride(width + 2 * MARGIN), held(size_t(stride) * (3 * RING + 6)) {}
    pixel* ring(int i, int y) const { return held.memory + size_t(stride) * (i * RING + (y & (RING - 1))) + MARGIN; }
    pixel* line(int i) const { return held.memory + size_t(stride) * (3 * RING + i) + MARGIN; }
    pixel* zeros() const { return line(5); }  // never written
};

// One thread's part in an image: its band of rows.
struct Member {
    int begin, end;
    Barrier& barrier;
    const Scratch& scratch;
};

// Row y of a ring whose rows are those of a map of `height` rows.
static inline const pixel* ring_row(const Scratch& s, int i, int y, int height) {
    return y < 0 || y >= height ? s.zeros() : s.ring(i, y);
}

static void softmax(float* values, int count) {
    float most = values[0], total = 0;
    for (int i = 1; i < count; i++) most = values[i] > most ? values[i] : most;
    for (int i = 0; i < count; i++) total += values[i] = std::exp(values[i] - most);
    for (int i = 0; i < count; i++) values[i] /= total;
}

// The attention weights (LAYERS, OPS) of a group whose input has the row sums `sums`.
static void attend(const Group& group, Attention kind, const pixel* sums, int height, int width, float* weights) {
    for (int i = 0; i < LAYERS * OPS; i++) weights[i] = 1;
    if (kind == NONE) return;
    if (kind == FIXED) {
        for (int layer = 0; layer < LAYERS; layer++) {
            std::memcpy(weights + layer * OPS, group.logits, OPS * sizeof(float));
            softmax(weights + layer * OPS, OPS);
        }
        return;
    }
    double mean[C] = {};
    for (int y = 0; y < height; y++)
        for (int c = 0; c < C; c++) mean[c] += channel(sums + y, c);
    float hidden[HIDDEN];
    for (int h = 0; h < HIDDEN; h++) {
        float value = group.squeeze_bias[h];
        for (int c = 0; c < C; c++) value += group.squeeze[h * C + c] * float(mean[c] / (double(height) * width));
        hidden[h] = value < 0 ? 0 : value;
    }
    for (int i = 0; i < LAYERS * OPS; i++) {
        float value = group.expand_bias[i];
        for (int h = 0; h < HIDDEN; h++) value += group.expand[i * HIDDEN + h] * hidden[h];
        weights[i] = value;
    }
    for (int layer = 0; layer < LAYERS; layer++) softmax(weights + layer * OPS, OPS);
}

static pixel row_sum(const pixel* row, int width) {
    pixel sums[4] = {};
    for (int x = 0; x < width; x++) add(sums[x & 3], row[x]);
    for (int i = 1; i < 4; i++) add(sums[0], sums[i]);
    return sums[0];
}

// A row that a group's input consists of is finished: keep its sum for the attention and put it through the group's 1x1 layer.
static void open_group(const Group& group, pixel* row, pixel& sum, int width) {
    sum = row_sum(row, width);
    pointwise_row<false, true>(row, row, group.preprocess, width);
}

// out = relu(x + conv(relu(conv(x)))), both depthwise 3x3; `done` is called with each finished row.
template <class Done>
static void residual_block(const Map& x, const Map& out, const pixel* const* taps, const Member& m, const Done& done) {
    const int width = x.width;
    for (int ahead = m.begin - 1; ahead < m.end + 1; ahead++) {
        if (ahead >= 0 && ahead < x.height) {
            pixel* inner = m.scratch.ring(0, ahead);
            conv_row<3, 1, false>(Rows<3>(x, ahead).at, inner, taps[0], width);
            for (int i = 0; i < width; i++)
                for (vec& part : inner[i].part) part = relu(part);
        }
        const int y = ahead - 1;
        if (y < m.begin) continue;
        const pixel* rows[3];
        for (int dy = 0; dy < 3; dy++) rows[dy] = ring_row(m.scratch, 0, y + dy - 1, x.height);
        pixel* line = m.scratch.line(0);
        conv_row<3, 1, false>(rows, line, taps[1], width);
        const pixel* given = x.row(y);
        pixel* made = out.row(y);
        for (int i = 0; i < width; i++)
            for (int q = 0; q < PARTS; q++) made[i].part[q] = relu(given[i].part[q] + line[i].part[q]);
        done(y, made);
    }
}

// Row y of relu(P_i dw(taps1_i, x)) for the separable operations 3, 5 and 7, into the rings.
static void separable_ahead(const Map& x, const Layer& layer, int y, const Scratch& s) {
    pixel* line = s.line(0);
    conv_row<3, 1, false>(Rows<3>(x, y).at, line, layer.taps1 + FIRST[0], x.width);
    pointwise_row<false, true>(line, s.ring(0, y), layer.first + C, x.width);
    conv_row<5, 1, false>(Rows<5>(x, y).at, line, layer.taps1 + FIRST[1], x.width);
    pointwise_row<false, true>(line, s.ring(1, y), layer.first + 2 * C, x.width);
    conv_row<7, 1, false>(Rows<7>(x, y).at, line, layer.taps1 + FIRST[2], x.width);
    pointwise_row<false, true>(line, s.ring(2, y), layer.first + 3 * C, x.width);
}

template <int K>
static void separable_row(const Scratch& s, int i, int y, int height, int width, const pixel* taps, const pixel* matrix) {
    const pixel* rows[K];
    for (int dy = 0; dy < K; dy++) rows[dy] = ring_row(s, i, y + dy - K / 2, height);
    conv_row<K, 1, false>(rows, s.line(0), taps, width);
    pointwise_row<true, false>(s.line(0), s.line(1), matrix, width);
}

template <int K>
static void dilated_row(const Map& x, const Scratch& s, int y, const pixel* taps, const pixel* matrix) {
    conv_row<K, 2, false>(Rows<K, 2>(x, y).at, s.line(0), taps, x.width);
    pointwise_row<true, false>(s.line(0), s.line(1), matrix, x.width);
}

// Row y of a layer, of the rings and the input; `matrices` are `last` times the attention weights.
static void finish_row(const Map& x, pixel* out, const Layer& layer, const pixel* matrices, int y, const Scratch& s) {
    const int width = x.width, height = x.height;
    const pixel* given = x.row(y);
    pixel *line = s.line(0), *sum = s.line(1);
    pointwise_row<false, true>(given, line, layer.first, width);
    pointwise_row<false, false>(line, sum, matrices, width);
    separable_row<3>(s, 0, y, height, width, layer.taps2 + FIRST[0], matrices + C);
    separable_row<5>(s, 1, y, height, width, layer.taps2 + FIRST[1], matrices + 2 * C);
    separable_row<7>(s, 2, y, height, width, layer.taps2 + FIRST[2], matrices + 3 * C);
    dilated_row<3>(x, s, y, layer.dilated + FIRST[0], matrices + 4 * C);
    dilated_row<5>(x, s, y, layer.dilated + FIRST[1], matrices + 5 * C);
    dilated_row<7>(x, s, y, layer.dilated + FIRST[2], matrices + 6 * C);
    conv_row<3, 1, false>(Rows<3>(x, y).at, line, ONES.taps, width);
    scale_row(line, y, height, width);
    pointwise_row<true, false>(line, sum, matrices + 7 * C, width);
    for (int i = 0; i < width; i++)
        for (int q = 0; q < PARTS; q++) out[i].part[q] = given[i].part[q] + relu(sum[i].part[q]);
}

// out = layer(x) in the member's band; `done` is called with each finished row.
template <class Done>
static void operation_layer(const Map& x, const Map& out, const Layer& layer, const float* weights, const Member& m,
                            const Done& done) {
    pixel matrices[OPS * C];
    for (int i = 0; i < OPS * C; i++)
        for (int q = 0; q < PARTS; q++) matrices[i].part[q] = layer.last[i].part[q] * splat(weights[i / C]);
    for (int ahead = m.begin - REACH; ahead < m.end + REACH; ahead++) {
        if (ahead >= 0 && ahead < x.height) separable_ahead(x, layer, ahead, m.scratch);
        const int y = ahead - REACH;
        if (y < m.begin) continue;
        finish_row(x, out.row(y), layer, matrices, y, m.scratch);
        done(y, out.row(y));
    }
}

// Features are kept at or below their group's ceiling: see `owan.py`.
static void hold_row(pixel* row, int width, float ceiling) {
    for (int x = 0; x < width; x++)
        for (vec& part : row[x].part) part = part > ceiling ? splat(ceiling) : part;  // NaN stays NaN
}

// The groups, and before them the residual blocks, from the head's map in `one`; the result is in `one` again. `sums` holds
// two pixels for each row: one group's are read while the next one's are written.
static void through_groups(const Network& net, const Map& one, const Map& other, pixel* sums, const Member& m) {
    const int height = one.height, width = one.width;
    const Map *from = &one, *to = &other;
    auto step = [&] { std::swap(from, to), m.barrier.wait(); };
    for (int block = 0; block < BLOCKS; block++) {
        residual_block(*from, *to, net.residual[block], m, [&](int y, pixel* row) {
            if (block == BLOCKS - 1) open_group(net.groups[0], row, sums[y], width);
        });
        step();
    }
    for (int g = 0; g < GROUPS; g++) {
        float weights[LAYERS * OPS];
        attend(net.groups[g], net.attention, sums + size_t(g & 1) * height, height, width, weights);
        pixel* next = sums + size_t((g + 1) & 1) * height;
        for (int l = 0; l < LAYERS; l++) {
            operation_layer(*from, *to, net.groups[g].layers[l], weights + l * OPS, m, [&](int y, pixel* row) {
                if (l < LAYERS - 1) return;
                hold_row(row, width, net.ceilings[g]);
                if (g + 1 < GROUPS) open_group(net.groups[g + 1], row, next[y], width);
            });
            step();
        }
    }
}
