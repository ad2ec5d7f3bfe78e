#include "runtime/cuda/cublaslt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "runtime/cuda/libraries.h"
#include "runtime/progress.h"

namespace mambac::cuda {
namespace {

// Values of the enumerations in the cuBLAS reference.
enum { kReal32 = 0, kReal16 = 2, kBfloat16 = 14 };  // cudaDataType_t
enum { kCompute32 = 68 };                           // cublasComputeType_t: f32 sums, no rounding of operands to TF32
enum { kMatmulTransposeA = 3, kMatmulTransposeB = 4, kMatmulEpilogue = 7, kMatmulBias = 8 };
enum { kLayoutBatch = 5, kLayoutBatchStride = 6 };
enum {
  kPreferenceWorkspace = 1,
  kPreferenceReduction = 3,
  kPreferenceAlignmentA = 5,
  kPreferenceAlignmentB = 6,
  kPreferenceAlignmentC = 7,
  kPreferenceAlignmentD = 8
};
enum { kEpilogueBias = 4 };
// Split sums may be kept in f32 and added in a step of their own; in C's narrower type they would be rounded on the
// way.
enum : uint32_t { kReductionCompute = 2 };
enum : int32_t { kAsStored = 0, kTransposed = 1 };  // cublasOperation_t

constexpr int kMostAlgorithms = 8;  // that the library is asked for

CublasLt::Api load_library(const LibraryProbe& library) {
  require_library(library);
  CublasLt::Api api;
#define MAMBAC_FUNCTION(name, ...) api.name = reinterpret_cast<decltype(api.name)>(require_symbol(library, #name));
#include "runtime/cuda/cublaslt_functions.def"
#undef MAMBAC_FUNCTION
  return api;
}

std::string text_of_version(size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

int type_of(DType type) {
  switch (type) {
    case DType::f32:
      return kReal32;
    case DType::bf16:
      return kBfloat16;
    case DType::f16:
      return kReal16;
    default:
      throw InternalError("a product of a type that cuBLASLt is not asked for");
  }
}

/// A descriptor of the library.
template <class Handle, auto Release>
class Descriptor {
 public:
  explicit Descriptor(const CublasLt& library) : library_(&library) {}
  ~Descriptor() {
    if (handle_ != nullptr) (library_->api().*Release)(handle_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Handle* place() { return &handle_; }
  Handle get() const { return handle_; }

 private:
  const CublasLt* library_;
  Handle handle_ = nullptr;
};

using Layout = Descriptor<LtLayout, &CublasLt::Api::cublasLtMatrixLayoutDestroy>;

}  // namespace

CublasLt::CublasLt(const Device& device) : CublasLt(device, find_cublaslt()) {}

CublasLt::CublasLt(const Device& device, const LibraryProbe& library) : device_(device), api_(load_library(library)) {
  device.enter();
  expect(api_.cublasLtCreate(&handle_), fmt::format("initialise '{}'", library.path));
}

CublasLt::~CublasLt() {
  api_.cublasLtDestroy(handle_);
}

std::string CublasLt::version() const {
  return text_of_version(api_.cublasLtGetVersion());
}

std::string CublasLt::version_of(const LibraryProbe& library) {
  return text_of_version(load_library(library).cublasLtGetVersion());
}

void CublasLt::expect(int status, const std::string& tried) const {
  if (status == 0) return;
  throw EnvironmentError(fmt::format("{}: cuBLASLt {} cannot {}: {} ({})", device_.str(), version(), tried,
                                     api_.cublasLtGetStatusString(status), status));
}

// The library thinks in columns. Row-major C[m, n] is its D[n, m], the product of its A, our B seen as [n, k], and its
// B, our A seen as [k, m]: operands change places, and "transposed" stays what it was.
struct DeviceMatmul::Impl {
  Impl(const CublasLt& of, const MatmulShape& of_shape, const DeviceMatmulOptions& of_options)
      : library(of), shape(of_shape), options(of_options), matmul(of), left(of), right(of), result(of) {
    if (shape.a != shape.b || (shape.c != shape.a && shape.c != DType::f32))
      throw InternalError(fmt::format("cuBLASLt has no product of these types: {}", shape.str()));
    library.device().enter();
    describe_product();
    describe(left, shape.b, shape.transpose_b ? shape.k : shape.n, shape.transpose_b ? shape.n : shape.k, shape.ldb,
             shape.batch_stride_b);
    describe(right, shape.a, shape.transpose_a ? shape.m : shape.k, shape.transpose_a ? shape.k : shape.m, shape.lda,
             shape.batch_stride_a);
    describe(result, shape.c, shape.n, shape.m, shape.ldc, shape.batch_stride_c);
    choose();
  }

  void expect(int status) const { library.expect(status, "multiply " + shape.str()); }

  template <class Value>
  void set(int attribute, Value value) {
    expect(library.api().cublasLtMatmulDescSetAttribute(matmul.get(), attribute, &value, sizeof(value)));
  }

  void describe_product() {
    expect(library.api().cublasLtMatmulDescCreate(matmul.place(), kCompute32, kReal32));
    set<int32_t>(kMatmulTransposeA, shape.transpose_b ? kTransposed : kAsStored);
    set<int32_t>(kMatmulTransposeB, shape.transpose_a ? kTransposed : kAsStored);
    if (!options.bias) return;
    set<uint32_t>(kMatmulEpilogue, kEpilogueBias);
    // The heuristic looks at the alignment of the address only.
    set<DevicePointer>(kMatmulBias, options.alignment);
  }

  /// `rows` are what lies without gaps in memory, `columns` what is `leading` elements apart.
  void describe(Layout& layout, DType type, int64_t rows, int64_t columns, int64_t leading, int64_t batch_stride) {
    const auto& api = library.api();
    expect(api.cublasLtMatrixLayoutCreate(layout.place(), type_of(type), static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(columns), leading != 0 ? leading : rows));
    if (shape.batch == 1) return;
    const auto batch = static_cast<int32_t>(shape.batch);
    expect(api.cublasLtMatrixLayoutSetAttribute(layout.get(), kLayoutBatch, &batch, sizeof(batch)));
    expect(api.cublasLtMatrixLayoutSetAttribute(layout.get(), kLayoutBatchStride, &batch_stride, sizeof(batch_stride)));
  }

  void choose() {
    const auto& api = library.api();
    Descriptor<LtPreference, &CublasLt::Api::cublasLtMatmulPreferenceDestroy> preference(library);
    expect(api.cublasLtMatmulPreferenceCreate(preference.place()));
    const auto prefer = [&](int attribute, auto value) {
      expect(api.cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)));
    };
    prefer(kPreferenceWorkspace, static_cast<uint64_t>(options.workspace_bytes));
    prefer(kPreferenceReduction, static_cast<uint32_t>(kReductionCompute));
    for (const int operand :
         {kPreferenceAlignmentA, kPreferenceAlignmentB, kPreferenceAlignmentC, kPreferenceAlignmentD})
      prefer(operand, options.alignment);
    offered.resize(kMostAlgorithms);
    int found = 0;
    expect(api.cublasLtMatmulAlgoGetHeuristic(library.handle(), matmul.get(), left.get(), right.get(), result.get(),
                                              result.get(), preference.get(), kMostAlgorithms, offered.data(), &found));
    offered.resize(static_cast<size_t>(found));
    std::erase_if(offered, [](const LtHeuristic& one) { return one.status != 0; });
    if (offered.empty())
      throw EnvironmentError(fmt::format("{}: cuBLASLt {} has no algorithm for {} with {} bytes of workspace",
                                         library.device().str(), library.version(), shape.str(),
                                         options.workspace_bytes));
    if (static_cast<size_t>(options.algorithm) >= offered.size())
      throw no_such_algorithm(options.algorithm, "cuBLASLt " + library.version(), shape, names());
  }

  const LtHeuristic& chosen() const { return offered[static_cast<size_t>(options.algorithm)]; }

  static std::string name_of(const LtHeuristic& algorithm) {
    return fmt::format("{} of workspace, {:.2f} waves", byte_text(static_cast<double>(algorithm.workspace_bytes)),
                       algorithm.waves);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    std::ranges::transform(offered, std::back_inserter(names), name_of);
    return names;
  }

  void run(Stream& stream, const Operands& operands) {
    library.device().enter();
    if (options.bias) set<DevicePointer>(kMatmulBias, operands.bias);
    const float alpha = 1, beta = shape.accumulate ? 1 : 0;
    const auto pointer = [](DevicePointer address) { return reinterpret_cast<void*>(address); };
    const DevicePointer addend = operands.addend != 0 ? operands.addend : operands.c;
    expect(library.api().cublasLtMatmul(library.handle(), matmul.get(), &alpha, pointer(operands.b), left.get(),
                                        pointer(operands.a), right.get(), &beta, pointer(addend), result.get(),
                                        pointer(operands.c), result.get(), &chosen().algorithm,
                                        pointer(operands.workspace), chosen().workspace_bytes, stream.handle()));
  }

  const CublasLt& library;
  MatmulShape shape;
  DeviceMatmulOptions options;
  Descriptor<LtMatmul, &CublasLt::Api::cublasLtMatmulDescDestroy> matmul;
  Layout left, right, result;
  std::vector<LtHeuristic> offered;  // the one that the library thinks fastest comes first
};

DeviceMatmul::DeviceMatmul(const CublasLt& library, const MatmulShape& shape, const DeviceMatmulOptions& options)
    : impl_(std::make_unique<Impl>(library, shape, options)) {}
DeviceMatmul::DeviceMatmul(DeviceMatmul&&) noexcept = default;
DeviceMatmul& DeviceMatmul::operator=(DeviceMatmul&&) noexcept = default;
DeviceMatmul::~DeviceMatmul() = default;

size_t DeviceMatmul::workspace_bytes() const {
  return impl_->chosen().workspace_bytes;
}

std::vector<std::string> DeviceMatmul::algorithms() const {
  return impl_->names();
}

std::string DeviceMatmul::algorithm() const {
  return Impl::name_of(impl_->chosen());
}

void DeviceMatmul::run(Stream& stream, const Operands& operands) {
  impl_->run(stream, operands);
}

}  // namespace mambac::cuda
