#include "tests/fake_cuda_work.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

namespace mambac::fake {

/// Work in order; tickets count it.
struct Queue {
  std::deque<Work> waiting;
  uint64_t put = 0, done = 0;
};

}  // namespace mambac::fake

namespace mambac::cuda {

struct OpaqueStream {
  std::shared_ptr<fake::Queue> queue = std::make_shared<fake::Queue>();
  std::optional<std::vector<fake::Work>> captured;
};
struct OpaqueEvent {
  std::shared_ptr<fake::Queue> queue;  // null: never recorded
  uint64_t ticket = 0;                 // what is before it
};

}  // namespace mambac::cuda

namespace mambac::fake {

using cuda::DevicePointer;
using cuda::EventHandle;
using cuda::StreamHandle;

namespace {

/// Set in every address of device memory: no address of a process has it.
constexpr DevicePointer kTag = DevicePointer{1} << 62;
constexpr size_t kAlignment = 256;

struct Allocation {
  char* memory;
  size_t bytes;
};

std::map<DevicePointer, Allocation> allocations;
std::map<const char*, size_t> pinned;
std::set<StreamHandle> streams;
std::optional<Fault> first_failure;

const std::pair<const DevicePointer, Allocation>& allocation_of(DevicePointer address) {
  auto found = allocations.upper_bound(address);
  if (found == allocations.begin()) throw Fault(700, "an address that is in no device memory");
  --found;
  if (address >= found->first + found->second.bytes) throw Fault(700, "an address behind device memory");
  return *found;
}

void do_next(Queue& queue) {
  const Work work = std::move(queue.waiting.front());
  queue.waiting.pop_front();
  ++queue.done;
  if (first_failure) return;
  try {
    work();
  } catch (const Fault& fault) {
    first_failure = fault;
  }
}

void finish(Queue& queue, uint64_t ticket) {
  while (queue.done < ticket) do_next(queue);
}

}  // namespace

DevicePointer allocate(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  auto* memory = static_cast<char*>(std::aligned_alloc(kAlignment, rounded));
  if (memory == nullptr) return 0;
  std::memset(memory, 0xff, rounded);
  const DevicePointer address = reinterpret_cast<DevicePointer>(memory) | kTag;
  allocations[address] = {memory, bytes};
  return address;
}

bool release(DevicePointer address) {
  const auto found = allocations.find(address);
  if (found == allocations.end()) return false;
  std::free(found->second.memory);
  allocations.erase(found);
  return true;
}

size_t allocated_bytes() {
  size_t all = 0;
  for (const auto& [address, allocation] : allocations) all += allocation.bytes;
  return all;
}

size_t bytes_behind(DevicePointer address) {
  const auto& [begin, allocation] = allocation_of(address);
  return begin + allocation.bytes - address;
}

void* memory_at(DevicePointer address, size_t bytes) {
  const auto& [begin, allocation] = allocation_of(address);
  if (bytes > begin + allocation.bytes - address) throw Fault(700, "more bytes than the device memory has");
  return allocation.memory + (address - begin);
}

void* allocate_pinned(size_t bytes) {
  auto* memory = static_cast<char*>(std::malloc(bytes));
  pinned[memory] = bytes;
  return memory;
}

void release_pinned(void* pointer) {
  pinned.erase(static_cast<char*>(pointer));
  std::free(pointer);
}

bool is_pinned(const void* pointer) {
  const char* at = static_cast<const char*>(pointer);
  const auto after = pinned.upper_bound(at);
  return after != pinned.begin() && at < std::prev(after)->first + std::prev(after)->second;
}

int put(StreamHandle stream, Work work) {
  if (first_failure) return failure();
  if (stream->captured) {
    stream->captured->push_back(std::move(work));
  } else {
    stream->queue->waiting.push_back(std::move(work));
    ++stream->queue->put;
  }
  return 0;
}

int finish(StreamHandle stream) {
  finish(*stream->queue, stream->queue->put);
  return failure();
}

int finish_all() {
  for (const StreamHandle stream : streams) finish(stream);
  return failure();
}

int failure() {
  return first_failure ? first_failure->status() : 0;
}

const char* failure_words() {
  return first_failure ? first_failure->what() : "";
}

void forget_failure() {
  first_failure.reset();
}

StreamHandle make_stream() {
  return *streams.insert(new cuda::OpaqueStream).first;
}

void destroy_stream(StreamHandle stream) {
  finish(stream);
  streams.erase(stream);
  delete stream;
}

bool is_capturing(StreamHandle stream) {
  return stream->captured.has_value();
}

bool anything_is_capturing() {
  for (const StreamHandle stream : streams)
    if (is_capturing(stream)) return true;
  return false;
}

void begin_capture(StreamHandle stream) {
  stream->captured.emplace();
}

std::vector<Work> end_capture(StreamHandle stream) {
  std::vector<Work> captured = std::move(*stream->captured);
  stream->captured.reset();
  return captured;
}

EventHandle make_event() {
  return new cuda::OpaqueEvent;
}

void destroy_event(EventHandle event) {
  delete event;
}

void record(EventHandle event, StreamHandle stream) {
  event->queue = stream->queue;
  event->ticket = stream->queue->put;
}

int finish(EventHandle event) {
  if (event->queue) finish(*event->queue, event->ticket);
  return failure();
}

bool go_on(EventHandle event) {
  if (!event->queue || event->queue->done >= event->ticket) return true;
  do_next(*event->queue);
  return false;
}

}  // namespace mambac::fake
