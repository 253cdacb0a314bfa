// Threads that live for one call: nothing to survive a fork, nothing to copy, no pool that the host program has to know of.

#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

// Where `size` threads wait for each other: a short while at work, then asleep.
class Barrier {
    const int size;
    std::atomic<int> waiting{0};
    std::atomic<unsigned> round{0};
    std::mutex mutex;
    std::condition_variable changed;

public:
    explicit Barrier(int size) : size(size) {}
    void wait() {
        if (size < 2) return;
        const unsigned mine = round.load(std::memory_order_acquire);
        if (waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
            waiting.store(0, std::memory_order_relaxed);
            {
                std::lock_guard<std::mutex> lock(mutex);
                round.store(mine + 1, std::memory_order_release);
            }
            changed.notify_all();
            return;
        }
        for (int i = 0; i < 4000; i++) {
            if (round.load(std::memory_order_acquire) != mine) return;
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
        }
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return round.load(std::memory_order_acquire) != mine; });
    }
};

// Call work(rank, size) side by side for every rank below `size`, the last one on the caller's thread. `size` is at most
// `wanted`, and less where the system gives no more threads.
template <class Work>
static void side_by_side(int wanted, const Work& work) {
    std::atomic<int> size{0};
    std::mutex mutex;
    std::condition_variable begun;
    std::vector<std::thread> threads;
    auto wait_and_work = [&](int rank) {
        {
            std::unique_lock<std::mutex> lock(mutex);
            begun.wait(lock, [&] { return size.load() > 0; });
        }
        work(rank, size.load());
    };
    try {
        threads.reserve(wanted > 1 ? wanted - 1 : 0);
        for (int rank = 0; rank + 1 < wanted; rank++) threads.emplace_back(wait_and_work, rank);
    } catch (const std::system_error&) {  // no more threads to be had
    } catch (const std::bad_alloc&) {
    }
    {
        std::lock_guard<std::mutex> lock(mutex);
        size.store(int(threads.size()) + 1);
    }
    begun.notify_all();
    work(int(threads.size()), size.load());
    for (auto& thread : threads) thread.join();
}
