// From an image to OWAN's first map and from its last map to the restored image, at the full resolution or at a part of it.
//
// `owan_subpixel.py` says what is computed at a part of the resolution; here each thread of a team does so in its band of rows.
// Planes are float maps [channel][row][column] with a margin of repeated columns.

#pragma once
#include "network.h"

static const int STATISTICS = 10, COLOURS = 5;  // red, green, blue, R - G, G - B

struct Image {  // (3, height, width), its last rows and columns repeated as far as needed
    const float* from;
    float* to;
    int height, width;
    const float* row(int c, int y) const { return from + (size_t(c) * height + (y < height ? y : height - 1)) * width; }
};

struct Planes {
    int height, width, margin;
    Pixels held;
    Planes(int channels, int height, int width, int margin)
        : height(height), width(width), margin(margin), held(size_t(channels) * height * (width + 2 * margin) / C + 1) {}
    float* row(int c, int y) const {
        return (float*)held.memory + (size_t(c) * height + y) * (width + 2 * margin) + margin;
    }
    const float* clamped(int c, int y) const { return row(c, y < 0 ? 0 : y >= height ? height - 1 : y); }
    void repeat_ends(int c, int y) const {
        float* at = row(c, y);
        for (int i = 1; i <= margin; i++) at[-i] = at[0], at[width - 1 + i] = at[width - 1];
    }
};

// What a team needs for one image of height x width pixels; `h` and `w` are those of the maps.
struct Workspace {
    int h, w;
    bool subpixel;
    Map one, other;
    Planes subpixels;  // the head's input with a margin of zeros; row 0 and the last one are such margins too
    Pixels sums;
    Map levels, spread;                // of the statistics: what the gates take, and what it is made of
    Planes means, gates, learnt;       // restored and given block means; the two gates; learnt subpixels
    Workspace(int height, int width, int n)
        : h((height + n - 1) / n), w((width + n - 1) / n), subpixel(n > 1), one(h, w), other(h, w),
          subpixels(3 * n * n, h + 2, w, 1), sums(2 * size_t(h)), levels(subpixel ? h : 0, w), spread(subpixel ? h : 0, w),
          means(6, subpixel ? h : 0, w, 2), gates(2, subpixel ? h : 0, w, 2), learnt(3 * n * n, subpixel ? h : 0, w, 0) {}
    explicit operator bool() const {
        return one.held && other.held && subpixels.held && sums && levels.held && spread.held && means.held && gates.held &&
               learnt.held;
    }
};

// Row y of the blocks' subpixels: channel c n² + i n + j is colour c of the block's row i and column j.
static void unshuffle_row(const Image& image, const Workspace& w, int n, int y) {
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < n; i++) {
            const float* row = image.row(c, y * n + i);
            for (int j = 0; j < n; j++) {
                float* to = w.subpixels.row((c * n + i) * n + j, y + 1);
                for (int x = 0; x < w.w; x++) to[x] = row[x * n + j < image.width ? x * n + j : image.width - 1];
            }
        }
}

template <int N>
static inline void head_block(const Workspace& w, const Network& net, int y, int x, pixel* out) {
    vec sum[N][PARTS] = {};
    const pixel* tap = net.head;
    for (int c = 0; c < net.inputs; c++)
        for (int dy = 0; dy < 3; dy++) {
            const float* row = w.subpixels.row(c, y + dy) + x - 1;
            for (int dx = 0; dx < 3; dx++, tap++)
#pragma GCC unroll 12
                for (int n = 0; n < N; n++) {
                    const vec value = splat(row[n + dx]);
                    for (int q = 0; q < PARTS; q++) sum[n][q] += tap->part[q] * value;
                }
        }
    for (int n = 0; n < N; n++)
        for (int q = 0; q < PARTS; q++) out[n].part[q] = sum[n][q];
}

// The first convolution, 3x3 from all subpixels to 16 channels.
static void head_row(const Workspace& w, const Network& net, int y) {
    pixel* out = w.one.row(y);
    int x = 0;
    for (; x + PIXELS <= w.w; x += PIXELS) head_block<PIXELS>(w, net, y, x, out + x);
    for (; x < w.w; x++) head_block<1>(w, net, y, x, out + x);
}

// Row y of `spread`: variance within the block, mean and squared mean, of the five colours each.
static void spread_row(const Workspace& w, int n, int y) {
    const float share = 1.0f / float(n * n);
    for (int x = 0; x < w.w; x++) {
        float sum[COLOURS] = {}, squares[COLOURS] = {};
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                float v[COLOURS];
                for (int c = 0; c < 3; c++) v[c] = w.subpixels.row((c * n + i) * n + j, y + 1)[x];
                v[3] = v[0] - v[1], v[4] = v[1] - v[2];
                for (int c = 0; c < COLOURS; c++) sum[c] += v[c], squares[c] += v[c] * v[c];
            }
        float* to = (float*)(w.spread.row(y) + x);
        for (int c = 0; c < COLOURS; c++) {
            const float mean = sum[c] * share;
            to[c] = squares[c] * share - mean * mean;
            to[COLOURS + c] = mean, to[2 * COLOURS + c] = mean * mean;
            if (c < 3) w.means.row(3 + c, y)[x] = mean;
        }
    }
    for (int c = 0; c < 3; c++) w.means.repeat_ends(3 + c, y);
}

static inline float level(float variance) {
    return std::log10((variance > 0 ? variance : 0) + 1e-6f) / 3 + 1;
}

// Row y of `levels`: how much the image varies within the blocks around, and among them.
static void level_row(const Workspace& w, const Scratch& s, int y) {
    pixel* line = s.line(0);
    conv_row<3, 1, false>(Rows<3>(w.spread, y).at, line, ONES.taps, w.w);
    scale_row(line, y, w.h, w.w);
    for (int x = 0; x < w.w; x++) {
        const float* local = (const float*)(line + x);
        float* to = (float*)(w.levels.row(y) + x);
        for (int c = 0; c < COLOURS; c++) {
            to[c] = level(local[c]);
            to[COLOURS + c] = level(local[2 * COLOURS + c] - local[COLOURS + c] * local[COLOURS + c]);
        }
    }
}

// line (+)= 3x3 convolution of a map's row y, from 16 channels to 16.
static void full_row(const Map& map, int y, pixel* line, const pixel* columns) {
    for (int tap = 0; tap < 9; tap++)
        pointwise_row<true, false>(map.row(y + tap / 3 - 1) + tap % 3 - 1, line, columns + tap * C, map.width);
}

static void fill(pixel* line, const pixel& value, int width) {
    for (int x = 0; x < width; x++) line[x] = value;
}

static inline float within(float value, float low, float high) {
    return value < low ? low : value > high ? high : value;  // NaN stays NaN
}

// The weights behind the groups: the output convolution, in blocks of 16 channels, and the gates'.
struct Tail {
    int blocks;
    const pixel *columns, *mix, *mix_levels, *mix_bias, *open, *open_bias;
    Tail(const Network& net)
        : blocks(((net.factor > 1 ? 3 + net.inputs : 3) + C - 1) / C) {
        Cursor c = net.rest;
        columns = c.pixels(size_t(blocks) * 9 * C);
        if (net.factor > 1) {
            mix = c.pixels(9 * C), mix_levels = c.pixels(9 * C), mix_bias = c.pixels(1);
            open = c.pixels(9 * C), open_bias = c.pixels(1);
        }
    }
};

// Row y of the output convolution: at the full resolution the image, else block means in [0, 1] and subpixels in [-0.5, 0.5].
static void tail_row(const Network& net, const Tail& tail, const Image& image, const Workspace& w, const Scratch& s, int y) {
    pixel* line = s.line(0);
    const int outputs = net.factor > 1 ? 3 + net.inputs : 3;
    for (int block = 0; block < tail.blocks; block++) {
        fill(line, pixel{}, w.w);
        full_row(w.one, y, line, tail.columns + block * 9 * C);
        for (int i = 0; i < C && block * C + i < outputs; i++) {
            const int c = block * C + i;
            if (net.factor == 1) {
                float* to = image.to + (size_t(c) * image.height + y) * image.width;
                for (int x = 0; x < w.w; x++) to[x] = channel(line + x, i);
            } else if (c < 3) {
                float* to = w.means.row(c, y);
                for (int x = 0; x < w.w; x++) to[x] = within(channel(line + x, i), 0, 1);
                w.means.repeat_ends(c, y);
            } else {
                float* to = w.learnt.row(c - 3, y);
                for (int x = 0; x < w.w; x++) to[x] = within(channel(line + x, i), -0.5f, 0.5f);
            }
        }
    }
}

// Row y of the gates' hidden layer, into `other`.
static void mix_row(const Tail& tail, const Workspace& w, int y) {
    pixel* row = w.other.row(y);
    fill(row, *tail.mix_bias, w.w);
    full_row(w.one, y, row, tail.mix);
    full_row(w.levels, y, row, tail.mix_levels);
    for (int x = 0; x < w.w; x++)
        for (vec& part : row[x].part) part = relu(part);
}

// Row y of the gates: of the block means, and of what is finer.
static void gate_row(const Tail& tail, const Workspace& w, const Scratch& s, int y) {
    pixel* line = s.line(0);
    fill(line, *tail.open_bias, w.w);
    full_row(w.other, y, line, tail.open);
    for (int i = 0; i < 2; i++) {
        float* to = w.gates.row(i, y);
        for (int x = 0; x < w.w; x++) to[x] = 1 / (1 + std::exp(-channel(line + x, i)));
        w.gates.repeat_ends(i, y);
    }
}

// Where the pixel `i` of a block lies between block centres: blocks `first` and the one after, and how far towards the latter.
struct Phase {
    int first;
    float part, cubic[4];
    Phase(int i, int n) {
        const float place = (float(i) + 0.5f) / float(n) - 0.5f;
        first = place < 0 ? -1 : 0;
        part = place - float(first);
        const float a = -0.75f;  // as PyTorch's bicubic interpolation (Keys, 1981)
        for (int k = 0; k < 4; k++) {
            const float x = std::fabs(part + 1 - float(k));
            cubic[k] = x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
        }
    }
};

// Row i of the blocks of row y, at the image's resolution.
static void compose_row(const Image& image, const Workspace& w, const Scratch& s, int n, int y, int i) {
    const int row = y * n + i, width = w.w, stride = width + 4;
    float* const memory = (float*)s.line(0);  // a line of pixels holds 16 rows of floats; 11 are used
    auto line = [&](int which) { return memory + size_t(which) * stride + 2; };
    const Phase down(i, n);
    for (int c = 0; c < 6; c++) {
        const float* rows[4];
        for (int k = 0; k < 4; k++) rows[k] = w.means.clamped(c, y + down.first + k - 1);
        float* to = line(c);
        for (int x = -2; x < width + 2; x++)
            to[x] = down.cubic[0] * rows[0][x] + down.cubic[1] * rows[1][x] + down.cubic[2] * rows[2][x] + down.cubic[3] * rows[3][x];
    }
    for (int g = 0; g < 2; g++) {
        const float *above = w.gates.clamped(g, y + down.first), *below = w.gates.clamped(g, y + down.first + 1);
        float* to = line(6 + g);
        for (int x = -2; x < width + 2; x++) to[x] = above[x] + down.part * (below[x] - above[x]);
    }
    for (int j = 0; j < n; j++) {
        const Phase across(j, n);
        const float *gate = line(6) + across.first, *detail_gate = line(7) + across.first, *k = across.cubic;
        float *open = line(8), *detail = line(9), *made = line(10);
        for (int x = 0; x < width; x++) open[x] = gate[x] + across.part * (gate[x + 1] - gate[x]);
        for (int x = 0; x < width; x++) detail[x] = detail_gate[x] + across.part * (detail_gate[x + 1] - detail_gate[x]);
        for (int c = 0; c < 3; c++) {
            const float *means = line(c) + across.first - 1, *given = line(3 + c) + across.first - 1;
            const float* learnt = w.learnt.row((c * n + i) * n + j, y);
            const float* grown = w.subpixels.row((c * n + i) * n + j, y + 1);
            for (int x = 0; x < width; x++) {
                const float base = k[0] * means[x] + k[1] * means[x + 1] + k[2] * means[x + 2] + k[3] * means[x + 3];
                const float kept = k[0] * given[x] + k[1] * given[x + 1] + k[2] * given[x + 2] + k[3] * given[x + 3];
                made[x] = base + open[x] * (kept - base) + learnt[x] + detail[x] * (grown[x] - kept - learnt[x]);
            }
            float* to = image.to + (size_t(c) * image.height + row) * image.width;
            for (int x = 0; x * n + j < image.width; x++) to[x * n + j] = made[x];
        }
    }
}

// The member's part in restoring an image.
static void restore(const Network& net, const Image& image, const Workspace& w, const Member& m) {
    const int n = net.factor;
    for (int y = m.begin; y < m.end; y++) {
        unshuffle_row(image, w, n, y);
        if (w.subpixel) spread_row(w, n, y);
    }
    m.barrier.wait();
    for (int y = m.begin; y < m.end; y++) {
        head_row(w, net, y);
        if (w.subpixel) level_row(w, m.scratch, y);
    }
    m.barrier.wait();
    through_groups(net, w.one, w.other, w.sums.memory, m);
    const Tail tail(net);
    for (int y = m.begin; y < m.end; y++) {
        tail_row(net, tail, image, w, m.scratch, y);
        if (w.subpixel) mix_row(tail, w, y);
    }
    m.barrier.wait();
    if (!w.subpixel) return;
    for (int y = m.begin; y < m.end; y++) gate_row(tail, w, m.scratch, y);
    m.barrier.wait();
    for (int y = m.begin; y < m.end; y++)
        for (int i = 0; i < n && y * n + i < image.height; i++) compose_row(image, w, m.scratch, n, y, i);
    m.barrier.wait();
}
