// A call runs on the thread that makes it, or, if its name ends in Async, on a thread of Node's pool.
#pragma once

#include <napi.h>

#include <exception>
#include <functional>
#include <new>
#include <utility>
#include <vector>

#include "node/errors.hpp"
#include "node/files.hpp"

namespace codecllm::addon {

/**
 * Calls functions of the interface, and nothing of Node's: it may not be the thread of JavaScript.
 *
 * @throws Failure, ReadError, any other std::exception
 */
using Work = std::function<uint64_t()>;

/** Does work. @throws Failure */
inline uint64_t finish(const Work& work) {
  try {
    return work();
  } catch (const ReadError& error) {
    throw Failure{error.what(), nullptr, error.number, {}};
  } catch (const std::bad_alloc&) {
    throw Failure{"out of memory", name_of(CODECLLM_OUT_OF_MEMORY), 0, {}};
  } catch (const std::exception& error) {
    throw Failure{error.what(), nullptr, 0, {}};
  }
}

/** Work on a thread of Node's pool, and the promise of the number that it gives. */
class Job : public Napi::AsyncWorker {
 public:
  static Napi::Value start(const Napi::CallbackInfo& info, Work work) {
    // Node deletes it when it is done.
    Job* const job = new Job(info, std::move(work));
    job->Queue();
    return job->deferred_.Promise();
  }

 private:
  Job(const Napi::CallbackInfo& info, Work work)
      : Napi::AsyncWorker(info.Env()), deferred_(info.Env()), work_(std::move(work)) {
    Napi::Object arguments = Napi::Array::New(info.Env());
    for (uint32_t i = 0; i < info.Length(); i++) arguments.Set(i, info[i]);
    arguments_ = Napi::Persistent(arguments);
  }

  void Execute() override {
    try {
      result_ = finish(work_);
    } catch (const Failure& failure) {
      failure_ = failure;
      SetError(failure.message);
    }
  }

  void OnOK() override { deferred_.Resolve(number_from(Env(), result_)); }

  void OnError(const Napi::Error&) override { deferred_.Reject(failure_.error(Env()).Value()); }

  const Napi::Promise::Deferred deferred_;
  const Work work_;
  /** So that their buffers stay alive. */
  Napi::ObjectReference arguments_;
  uint64_t result_ = 0;
  Failure failure_;
};

/** Reads a call's arguments; throws where they are wrong. */
using Prepare = Work (*)(const Napi::CallbackInfo& info);

template <Prepare kPrepare>
Napi::Value Here(const Napi::CallbackInfo& info) {
  try {
    return number_from(info.Env(), finish(kPrepare(info)));
  } catch (const Failure& failure) {
    throw failure.error(info.Env());
  }
}

template <Prepare kPrepare>
Napi::Value InPool(const Napi::CallbackInfo& info) {
  return Job::start(info, kPrepare(info));
}

/** Works on the items of a batch, one after the other. @throws Failure that says which item it is about */
template <class Item, class EachItem>
void for_each_item(const std::vector<Item>& items, EachItem each) {
  for (size_t index = 0; index < items.size(); index++) try {
      each(items[index], index);
    } catch (Failure& failure) {
      failure.item = index;
      throw;
    }
}

}  // namespace codecllm::addon
