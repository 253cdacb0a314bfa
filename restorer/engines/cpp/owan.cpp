// What Python calls: OWAN for inference on a batch of images, one layer of it for training, and a digest of its parameters.

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "ends.h"
#include "training.h"

static const int LEAST_ROWS = 8;  // of maps in a thread's band, below which its neighbours' rows cost more than it does

struct Batch {
    const Network& net;
    const float* from;
    float* to;
    int images, height, width;
    Image image(int i) const {
        const size_t size = size_t(3) * height * width;
        return {from + i * size, to + i * size, height, width};
    }
};

// Restore every image: each by one thread while there are as many left as threads, the last few by teams. 1: out of memory.
static int restore_batch(const Batch& batch, int threads) {
    const int n = batch.net.factor, h = (batch.height + n - 1) / n, w = (batch.width + n - 1) / n;
    const int bands = (h + LEAST_ROWS - 1) / LEAST_ROWS;  // at most, of an image
    threads = int(std::min<int64_t>(threads < 1 ? 1 : threads, int64_t(batch.images) * bands));
    std::vector<std::unique_ptr<Workspace>> spaces;
    std::vector<std::unique_ptr<Scratch>> scratches;
    std::vector<std::unique_ptr<Barrier>> teams;
    try {
        for (int i = 0; i < smaller(threads, batch.images); i++) {
            spaces.push_back(std::make_unique<Workspace>(batch.height, batch.width, n));
            if (!*spaces.back()) return 1;
        }
        for (int i = 0; i < threads; i++) {
            scratches.push_back(std::make_unique<Scratch>(w));
            if (!scratches.back()->held) return 1;
            teams.push_back(nullptr);
        }
    } catch (const std::bad_alloc&) {
        return 1;
    }
    std::unique_ptr<Barrier> everybody;
    std::once_flag counted;
    std::atomic<int> next{0};
    side_by_side(threads, [&](int rank, int size) {
        const int rest = batch.images % size, alone = batch.images - rest;
        const int members = rest ? smaller(size / rest, bands) : 1;
        std::call_once(counted, [&] {
            everybody = std::make_unique<Barrier>(size);
            for (int team = 0; team < rest; team++) teams[team] = std::make_unique<Barrier>(members);
        });
        Barrier nobody(1);
        for (int i; (i = next++) < alone;)
            restore(batch.net, batch.image(i), *spaces[rank], Member{0, h, nobody, *scratches[rank]});
        everybody->wait();
        const int team = rank / members, place = rank % members;
        if (team >= rest) return;
        const int begin = int(int64_t(h) * place / members), end = int(int64_t(h) * (place + 1) / members);
        restore(batch.net, batch.image(alone + team), *spaces[team], Member{begin, end, *teams[team], *scratches[rank]});
    });
    return 0;
}

// images (B, 3, H, W) to restored images of the same shape; `weights` in the order of `native.pack`, 64-byte aligned.
extern "C" int owan_restore(const float* images, float* restored, const float* weights, int count, int height, int width,
                            int factor, int attention, int threads) {
    const Network net(weights, factor, attention);
    return restore_batch({net, images, restored, count, height, width}, threads);
}

static inline uint64_t mixed(uint64_t a, uint64_t b) {
    a = (a ^ b) * 0x9E3779B97F4A7C15ull;
    return a ^ (a >> 29);
}

// Two different 64-bit digests of what `count` tensors hold, each of sizes[i] bytes.
extern "C" void digest(const void* const* tensors, const int64_t* sizes, int count, uint64_t* result) {
    uint64_t lanes[4] = {1, 2, 3, 4};
    for (int i = 0; i < count; i++) {
        const char* at = (const char*)tensors[i];
        int64_t left = sizes[i];
        for (; left >= 32; left -= 32, at += 32) {
            uint64_t words[4];
            std::memcpy(words, at, 32);
            for (int k = 0; k < 4; k++) lanes[k] = mixed(lanes[k], words[k]);
        }
        uint64_t words[4] = {uint64_t(sizes[i]), 0, 0, 0};
        for (int k = 0; k < 4; k++) lanes[k] = mixed(lanes[k], words[k]);
        std::memset(words, 0, 32);
        std::memcpy(words, at, size_t(left));
        for (int k = 0; k < 4; k++) lanes[k] = mixed(lanes[k], words[k]);
    }
    result[0] = mixed(mixed(lanes[0], lanes[1]), mixed(lanes[2], lanes[3]));
    result[1] = mixed(mixed(lanes[3], lanes[0]), mixed(lanes[1], lanes[2]));
}
