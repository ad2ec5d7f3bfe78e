// What the fake driver and cuBLASLt share: memory of a device that the host cannot touch, and work that waits in
// streams until something asks for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "runtime/cuda/driver_api.h"

namespace mambac::fake {

// ---- memory ---------------------------------------------------------------------------------------------------------

/// An address that no host can follow; the memory is filled with NaN. 0: there is not that much.
cuda::DevicePointer allocate(size_t bytes);
/// False when there is no such allocation.
bool release(cuda::DevicePointer address);
size_t allocated_bytes();

/// What goes wrong while a device works: a status, and words.
class Fault : public std::runtime_error {
 public:
  Fault(int status, const std::string& words) : std::runtime_error(words), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

/// Bytes from this address to the end of its allocation. Fault unless it is in one.
size_t bytes_behind(cuda::DevicePointer address);
/// The memory itself, of which so many bytes may be touched. Fault when they are not in one allocation.
void* memory_at(cuda::DevicePointer address, size_t bytes);

void* allocate_pinned(size_t bytes);
void release_pinned(void* pointer);
/// The device may read and write it while the host does other things.
bool is_pinned(const void* pointer);

// ---- work -----------------------------------------------------------------------------------------------------------

using Work = std::function<void()>;

/// Puts work into a stream, or into what is captured of it. All of these return the status of the first work that went
/// wrong, of whatever stream, and the device does nothing more from then on.
int put(cuda::StreamHandle stream, Work work);
int finish(cuda::StreamHandle stream);
int finish_all();
int failure();
/// Of the first work that went wrong; empty: none did.
const char* failure_words();
/// Of a new context.
void forget_failure();

cuda::StreamHandle make_stream();
void destroy_stream(cuda::StreamHandle stream);
bool is_capturing(cuda::StreamHandle stream);
bool anything_is_capturing();
void begin_capture(cuda::StreamHandle stream);
std::vector<Work> end_capture(cuda::StreamHandle stream);

cuda::EventHandle make_event();
void destroy_event(cuda::EventHandle event);
void record(cuda::EventHandle event, cuda::StreamHandle stream);
int finish(cuda::EventHandle event);
/// Does the next piece of what is before the event; true when there was none left.
bool go_on(cuda::EventHandle event);

}  // namespace mambac::fake
