#include "runtime/cuda/emulated_block.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace mambac {
namespace {

constexpr size_t kMostThreads = 1024, kWarp = 32;
constexpr mb_word kUntouchedStack = 0x6d616d6261632121;

/// What lies at the start of each stack; see mb_thread.
struct StackFoot {
  mb_thread* face;
  mb_word untouched;
};

bool same(const mb_site& a, const mb_site& b) {
  return a.line == b.line && a.width == b.width && a.block == b.block && a.what && b.what &&
         (a.what == b.what || std::strcmp(a.what, b.what) == 0);
}

std::string text_of(const mb_site& site) {
  const std::string width = site.width ? fmt::format("<{}>", site.width) : "";
  return fmt::format("{}{} (line {})", site.what, width, site.line);
}

bool in_one_epoch(mb_word touched, mb_word key) {
  return touched != key && (touched ^ key) < mb_one_epoch;
}

}  // namespace

const mb_runtime EmulatedBlock::kRuntime = {
    [](mb_thread* t, const mb_site& site) { of(t).wait(self(t), site); },
    [](mb_thread* t, const mb_fault& fault) {
      of(t).fault_ = of(t).place(self(t), fault.line) + text(fault);
      of(t).stop(self(t));
    },
    [](mb_thread* t, int id, const char* name, int bytes, long long count, mb_shadow** shadows) {
      return of(t).shared(self(t), id, name, static_cast<size_t>(bytes), static_cast<size_t>(count), shadows);
    },
    [](mb_thread* t, mb_shadow* shadows, int units, bool writes, const char* name, long long index, int line) {
      for (int i = 0; i < units; ++i) of(t).touch_global(self(t), shadows[i], writes, name, index, line);
    },
    [](mb_thread* t, void* to, const void* from, mb_shadow* shadows, int elements) {
      self(t).copies.push_back({to, from, shadows, elements, self(t).group});
    },
    [](mb_thread* t) { ++self(t).group; },
    [](mb_thread* t, int last) { of(t).wait_copies(self(t), last); },
};

EmulatedBlock::EmulatedBlock()
    : faces_(kMostThreads), memory_(new char[kSharedBytes]), shadows_(new mb_shadow[kSharedBytes]()) {
  // One more, so that stacks can begin at multiples of their size; untouched pages take no memory.
  const size_t bytes = (kMostThreads + 1) * mb_stack;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw EnvironmentError(fmt::format("emulation device: no {} MiB of address space for stacks", bytes >> 20));
  stacks_ = static_cast<char*>(memory);
}

EmulatedBlock::~EmulatedBlock() {
  munmap(stacks_, (kMostThreads + 1) * mb_stack);
}

// ---- one block ------------------------------------------------------------------------------------------------------

void EmulatedBlock::run(const mb_kernel& kernel, const mb_argument* arguments, int64_t task, int threads,
                        uint64_t seed) {
  kernel_ = &kernel;
  arguments_ = arguments;
  random_ = seed * 0x9e3779b97f4a7c15 + static_cast<mb_word>(task) * 0xbf58476d1ce4e5b9 + 1;
  main_.describe_own_stack();
  restart(task, static_cast<size_t>(threads));
  Fiber::change(main_, threads_[next()]->fiber);
  if (fault_.empty()) return;
  // The threads are left where they were and begin anew in the next block.
  for (auto& thread : threads_) start_fiber(*thread);
  throw DeviceFault(std::exchange(fault_, ""));
}

void EmulatedBlock::start_fiber(Thread& thread) {
  const auto number = static_cast<size_t>(thread.number);
  const size_t start = (reinterpret_cast<uintptr_t>(stacks_) + mb_stack - 1) & ~(mb_stack - 1);
  char* stack = reinterpret_cast<char*>(start) + number * mb_stack;
  *reinterpret_cast<StackFoot*>(stack) = {&faces_[number], kUntouchedStack};
  // Stacks that all began at the same place modulo their size would share a few lines of the caches.
  const size_t apart = number * 17 % 512 * 64;
  thread.fiber.start(stack + 64, mb_stack - 64 - apart, enter);
}

void EmulatedBlock::restart(int64_t task, size_t threads) {
  while (threads_.size() < threads) {
    threads_.push_back(std::make_unique<Thread>());
    threads_.back()->number = static_cast<int>(threads_.size() - 1);
    start_fiber(*threads_.back());
  }
  count_ = threads;
  finished_ = 0;
  task_ = task;
  ++epoch_;
  arrays_.clear();
  shared_bytes_ = 0;
  arrived_.assign(threads / kWarp + 1, 0);
  runnable_.clear();
  for (size_t i = 0; i < threads; ++i) {
    Thread& thread = *threads_[i];
    thread.site = {};
    thread.finished = false;
    thread.group = 0;
    for (const Copy& copy : thread.copies)
      for (int e = 0; e < copy.elements; ++e) copy.shadows[e].write = 0;
    thread.copies.clear();
    const mb_word first = epoch_ << 16;
    faces_[i] = {first | i,
                 first,
                 (static_cast<mb_word>(task) + 1) << 40 | i,
                 task,
                 static_cast<int>(i),
                 static_cast<int>(threads),
                 &kRuntime,
                 this,
                 {},
                 {}};
    runnable_.push_back(i);
  }
}

void EmulatedBlock::enter() {
  Fiber::entered();
  const auto frame = reinterpret_cast<mb_word>(__builtin_frame_address(0));
  const auto& foot = *reinterpret_cast<const StackFoot*>(frame & ~(mb_stack - 1));
  EmulatedBlock& block = of(foot.face);
  for (;;) {
    block.kernel_->call(block.arguments_);
    if (foot.untouched != kUntouchedStack) {
      block.fault_ = block.place(self(foot.face), 0) + "a stack overflowed";
      block.stop(self(foot.face));
    }
    block.finish(self(foot.face));
  }
}

uint64_t EmulatedBlock::random() {  // xorshift64*
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return (random_ * 0x2545f4914f6cdd1d) >> 32;
}

size_t EmulatedBlock::next() {
  const size_t at = random() * runnable_.size() >> 32, number = runnable_[at];
  runnable_[at] = runnable_.back();
  runnable_.pop_back();
  return number;
}

// ---- threads wait for each other ------------------------------------------------------------------------------------

void EmulatedBlock::wait(Thread& self, const mb_site& site) {
  self.site = site;
  const size_t warp = static_cast<size_t>(self.number) / kWarp, count = site.block ? count_ : kWarp;
  size_t& arrived = site.block ? arrived_.back() : arrived_[warp];
  if (++arrived == count) {
    arrived = 0;
    meet(self, site.block ? 0 : warp * kWarp, count);
  }
  go_on(self);
}

void EmulatedBlock::meet(const Thread& self, size_t first, size_t count) {
  const mb_site site = self.site;
  for (size_t i = first; i < first + count; ++i)
    if (!same(threads_[i]->site, site)) report_stuck(*threads_[static_cast<size_t>(self.number)]);
  for (size_t i = first; i < first + count; ++i) {
    threads_[i]->site.what = nullptr;
    runnable_.push_back(i);
    if (!site.barrier) continue;
    faces_[i].key += mb_one_epoch;
    faces_[i].global_key += mb_one_epoch;
  }
  if (site.barrier) ++epoch_;
}

void EmulatedBlock::finish(Thread& self) {
  self.finished = true;
  if (++finished_ == count_)
    Fiber::change(self.fiber, main_);
  else
    go_on(self);
}

void EmulatedBlock::go_on(Thread& self) {
  if (runnable_.empty()) report_stuck(self);
  Thread& other = *threads_[next()];
  if (&other != &self) Fiber::change(self.fiber, other.fiber);
}

// ---- memory ---------------------------------------------------------------------------------------------------------

void* EmulatedBlock::shared(Thread& self, int id, const char* name, size_t bytes, size_t count, mb_shadow** shadows) {
  for (const SharedArray& array : arrays_) {
    if (array.id != id) continue;
    *shadows = array.shadows;
    return array.data;
  }
  const size_t start = shared_bytes_;
  shared_bytes_ += (bytes * count + 15) / 16 * 16;
  if (shared_bytes_ > kSharedBytes) {
    fault_ = fmt::format("{}shared memory of {} bytes, '{}' being the last; there are {}", place(self, 0),
                         shared_bytes_, name, kSharedBytes);
    stop(self);
  }
  // As many shadows as bytes: elements of one array then never share one with another's.
  arrays_.push_back({id, memory_.get() + start, shadows_.get() + start});
  *shadows = arrays_.back().shadows;
  return arrays_.back().data;
}

void EmulatedBlock::touch_global(Thread& self, mb_shadow& shadow, bool writes, const char* name, int64_t index,
                                 int line) {
  const mb_word key = face(self).global_key;
  const auto other_block = [&](mb_word touched) { return touched >> 40 != key >> 40; };
  const auto describe = [&](mb_word touched, const char* what) {
    const std::string who = touched == ~mb_word(0)           ? "other blocks"
                            : other_block(touched)           ? fmt::format("block {}", (touched >> 40) - 1)
                            : (touched & mb_many) == mb_many ? "other threads"
                                                             : fmt::format("thread {}", touched & mb_many);
    return fmt::format("{}{} element {} of '{}', which {} {}{}", place(self, line), writes ? "writes" : "reads", index,
                       name, who, what, other_block(touched) ? "" : " since the last barrier");
  };
  const auto complain = [&](mb_word touched, const char* what) {
    fault_ = describe(touched, what);
    stop(self);
  };
  const mb_word read = shadow.read, write = shadow.write;
  if (write != 0 && (other_block(write) || in_one_epoch(write, key))) complain(write, "wrote");
  if (writes) {
    if (read != 0 && (other_block(read) || in_one_epoch(read, key))) complain(read, "read");
    shadow.write = key;
  } else {
    shadow.read = read == 0 ? key : other_block(read) ? ~mb_word(0) : in_one_epoch(read, key) ? key | mb_many : key;
  }
}

// A copy is made when it is waited for: until then, nobody may count on it.
void EmulatedBlock::wait_copies(Thread& self, int64_t last) {
  size_t kept = 0;
  for (const Copy& copy : self.copies) {
    if (copy.group >= self.group - last) {
      self.copies[kept++] = copy;
      continue;
    }
    std::memcpy(copy.to, copy.from, 16);
    for (int e = 0; e < copy.elements; ++e) copy.shadows[e].write = face(self).key;
  }
  self.copies.resize(kept);
}

// ---- faults ---------------------------------------------------------------------------------------------------------

// Nobody goes on with this thread, so nothing on its stack may own memory: messages are made by functions that return.
void EmulatedBlock::stop(Thread& self) {
  Fiber::change(self.fiber, main_);
  std::abort();
}

void EmulatedBlock::report_stuck(Thread& self) {
  fault_ = text_of_stuck();
  stop(self);
}

std::string EmulatedBlock::text_of_stuck() const {
  for (size_t i = 0; i < count_; ++i) {
    const Thread& waiting = *threads_[i];
    const mb_site& site = waiting.site;
    if (waiting.finished || !site.what) continue;
    const size_t first = site.block ? 0 : i / kWarp * kWarp, count = site.block ? count_ : kWarp;
    for (size_t j = first; j < first + count; ++j) {
      const Thread& other = *threads_[j];
      if (!other.finished && same(other.site, site)) continue;
      return fmt::format("{}waits for all threads of its {} at {}, but thread {} {}", place(waiting, site.line),
                         site.block ? "block" : "warp", text_of(site), j,
                         other.finished ? "has left the kernel" : "is at " + text_of(other.site));
    }
  }
  return fmt::format("{}: block {}: all threads wait", kernel_->name, task_);
}

std::string EmulatedBlock::place(const Thread& thread, int line) const {
  return fmt::format("{}: block {}, thread {}{}: ", kernel_->name, task_, thread.number,
                     line ? fmt::format(", line {}", line) : "");
}

std::string EmulatedBlock::text(const mb_fault& f) {
  const std::string element = fmt::format("element {} of '{}'", f.index, f.name);
  const std::string who = f.other == mb_many ? "other threads" : fmt::format("thread {}", f.other);
  const char* missing = "since the last barrier (a barrier is missing)";
  switch (f.kind) {
    case mb_fault_outside:
      return fmt::format("reaches {}, which has {}", element, f.count);
    case mb_fault_unwritten:
      return fmt::format("reads {}, which nothing wrote", element);
    case mb_fault_misaligned:
      return fmt::format("{} does not lie at a multiple of {} bytes", element, f.count);
    case mb_fault_race_read:
      return fmt::format("reads {}, which {} wrote {}", element, who, missing);
    case mb_fault_race_write:
      return fmt::format("writes {}, which {} wrote {}", element, who, missing);
    case mb_fault_race_late:
      return fmt::format("writes {}, which {} read {}", element, who, missing);
    case mb_fault_copy:
      return fmt::format("writes {} while a copy to it is under way", element);
    case mb_fault_width:
      return fmt::format("{} over {} threads in a block of {}", f.name, f.count, f.index);
  }
  return "unknown fault";
}

}  // namespace mambac
