// What kernels built for the host (codegen/cuda/emulated.h) and their runtime (runtime/cuda) hand each other. It is
// part of the text that stands before such kernels, too, hence C++17, no include, and the vocabulary's way of names.
#pragma once

typedef unsigned long long mb_word;

/// Who touched an element of shared memory last: (epoch << 16) | thread. The epoch counts barriers and never falls, so
/// that what is older than the block's first one was left by another block. read: thread 0xffff when several read it.
/// In a buffer: (block + 1) << 40 | (barriers in the block) << 16 | thread; read: ~0 when several blocks read it.
struct mb_shadow {
  mb_word write, read;
};

constexpr mb_word mb_many = 0xffff;
constexpr mb_word mb_one_epoch = mb_word(1) << 16;
/// The last writer of an element into which an asynchronous copy is under way.
constexpr mb_word mb_under_way = 1;

/// The most values a thread gives away at once: mb_reduce_scatter<32, 32>.
constexpr int mb_most_given = 32;

struct mb_runtime;

/// One thread of the block that runs. A thread's stack begins at a multiple of mb_stack with a pointer to this.
struct mb_thread {
  mb_word key;         // (epoch << 16) | number
  mb_word first;       // the key's lowest value in this block
  mb_word global_key;  // as in the shadows of buffers
  long long task;      // of the block
  int number, threads;
  const mb_runtime* runtime;
  void* block;         // the runtime's own
  // What a thread gives the others of its warp [0] or block [1], and the side of it that was used last: a thread is
  // never two exchanges ahead of those it exchanges with.
  int turn[2];
  float given[2][2][mb_most_given];
};

constexpr mb_word mb_stack = mb_word(1) << 18;

/// Where a thread waits for others; all of them have to be at the same.
struct mb_site {
  const char* what;  // "mb_sum"; nullptr: nowhere
  int width;
  bool block;        // for all threads of the block, or of the warp
  bool barrier;      // orders accesses to memory
  int line;
};

enum mb_fault_kind {
  mb_fault_outside,      // index, count: element `index` of `count`
  mb_fault_unwritten,
  mb_fault_misaligned,   // index; count: the bytes of the access
  mb_fault_race_read,    // a read of what `other` wrote
  mb_fault_race_write,   // a write over what `other` wrote
  mb_fault_race_late,    // a write over what `other` read; mb_many: several
  mb_fault_copy,         // a write over an element that a copy is under way to
  mb_fault_width,        // index: the threads of the block; count: those that `name` needs
};

struct mb_fault {
  mb_fault_kind kind;
  const char* name;  // of the array
  long long index, count;
  mb_word other;
  int line;
};

struct mb_runtime {
  void (*wait)(mb_thread*, const mb_site&);
  void (*fault)(mb_thread*, const mb_fault&);  // does not return
  /// Memory of the block for the array number `id` of the text; the same for all threads.
  void* (*shared)(mb_thread*, int id, const char* name, int bytes, long long count, mb_shadow** shadows);
  /// Notes an access to `units` units of a buffer.
  void (*global)(mb_thread*, mb_shadow*, int units, bool writes, const char* name, long long index, int line);
  void (*copy)(mb_thread*, void* to, const void* from, mb_shadow*, int elements);
  void (*commit)(mb_thread*);
  void (*wait_copies)(mb_thread*, int last);
};

/// One parameter's argument.
struct mb_argument {
  void* data;           // buffers
  long long count;      // elements of the buffer; the value of a number
  mb_shadow* shadows;   // of the buffer's first unit, or nullptr: accesses between threads are not compared
  int unit;             // bytes of a unit
  const char* name;
};

struct mb_kernel {
  const char* name;
  const char* parameters;  // their names, with commas
  const char* kinds;       // one letter each: f b h i u of a buffer's elements, capital when written; n: a number
  int threads;
  void (*call)(const mb_argument*);
};
