#include "runtime/initialise.h"

#include <fmt/format.h>

#include <cmath>

#include "ir/error.h"
#include "ir/print.h"
#include "runtime/hash.h"
#include "runtime/rng.h"

namespace mambac {
namespace {

/// The value whose softplus is log-uniform in [least, most]: x = dt + log(1 - exp(-dt)).
double dt_bias(Rng& rng, double least, double most) {
  const double drawn = std::exp(std::log(least) + rng.uniform() * (std::log(most) - std::log(least)));
  const double dt = drawn < 1e-4 ? 1e-4 : drawn;  // a NaN stays one
  return dt + std::log(-std::expm1(-dt));
}

double value_at(const Initialiser& init, Rng& rng, int64_t position_in_row) {
  switch (init.kind) {
    case Initialiser::none:
      break;
    case Initialiser::zeros:
      return 0;
    case Initialiser::ones:
      return 1;
    case Initialiser::constant:
      return init.a;
    case Initialiser::normal:
      return init.a + init.b * rng.normal();
    case Initialiser::uniform:
      return init.a + (init.b - init.a) * rng.uniform();
    case Initialiser::log_arange:
      return std::log(static_cast<double>(position_in_row + 1));
    case Initialiser::dt_bias:
      return dt_bias(rng, init.a, init.b);
    case Initialiser::log_uniform_ring:
      return std::log(-std::log(init.a + (init.b - init.a) * rng.uniform()));
  }
  throw InternalError("initialise: not an initialiser that makes values");
}

}  // namespace

void initialise(const Initialiser& initialiser, std::string_view checkpoint_name, std::span<const int64_t> shape,
                uint64_t seed, std::span<float> values) {
  if (initialiser.kind == Initialiser::none)
    throw InputError(
        fmt::format("parameter '{}' has no initialiser, so its values must come from a checkpoint", checkpoint_name));
  Rng rng(seed, hash_64(checkpoint_name));
  const int64_t row = shape.empty() ? 1 : shape.back();
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(value_at(initialiser, rng, static_cast<int64_t>(i) % row));
    if (!std::isfinite(values[i]))
      throw InputError(fmt::format("parameter '{}': {} gives a value that is not finite, expected finite ones",
                                   checkpoint_name, initialiser_text(initialiser)));
  }
}

}  // namespace mambac
