// Threads that share work out between them, and sleep while there is none.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace codecllm {

class Workers {
 public:
  /** @param threads to begin, beside those that call `run`; where the system has fewer left, it is as many */
  explicit Workers(unsigned threads) {
    threads_.reserve(threads);
    try {
      for (unsigned t = 0; t < threads; t++) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      // Fewer do, or none.
    }
  }
  ~Workers() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_closed_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /** How many threads it has. */
  size_t size() const { return threads_.size(); }

  /**
   * Calls task(0), ..., task(count - 1), here and on threads that have nothing else to do, and returns when all have
   * ended. Tasks may call this, too.
   *
   * @throws what the first of the tasks that failed threw
   */
  void run(size_t count, const std::function<void(size_t)>& task) {
    if (count == 0) return;
    const auto work = std::make_shared<Work>(task, count);
    std::unique_lock<std::mutex> lock(mutex_);
    if (count > 1 && !threads_.empty()) {
      queue_.push_back(work);
      for (size_t others = std::min(count - 1, threads_.size()); others > 0; others--) wake_.notify_one();
    }
    while (take_one(work, lock)) {
    }
    work->all_ended.wait(lock, [&work] { return work->ended == work->count; });
    if (work->failure) std::rethrow_exception(work->failure);
  }

 private:
  struct Work {
    Work(const std::function<void(size_t)>& task_, size_t count_) : task(task_), count(count_) {}

    const std::function<void(size_t)>& task;
    const size_t count;
    size_t begun = 0;
    size_t ended = 0;
    std::exception_ptr failure;
    std::condition_variable all_ended;
  };

  /** Runs a task with the lock released. @returns whether there was one */
  bool take_one(const std::shared_ptr<Work>& work, std::unique_lock<std::mutex>& lock) {
    if (work->begun == work->count) return false;
    const size_t index = work->begun++;
    if (work->begun == work->count)
      for (auto at = queue_.begin(); at != queue_.end(); ++at)
        if (*at == work) {
          queue_.erase(at);
          break;
        }
    lock.unlock();
    std::exception_ptr failure;
    try {
      work->task(index);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure && !work->failure) work->failure = failure;
    if (++work->ended == work->count) work->all_ended.notify_all();
    return true;
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!is_closed_) {
      if (queue_.empty()) {
        wake_.wait(lock);
        continue;
      }
      // A copy, which keeps it alive.
      const std::shared_ptr<Work> first = queue_.front();
      take_one(first, lock);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  /** Of which tasks have not all begun. */
  std::deque<std::shared_ptr<Work>> queue_;
  bool is_closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace codecllm
