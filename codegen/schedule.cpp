#include "codegen/schedule.h"

#include <fmt/format.h>

namespace mambac {

std::string Schedule::str() const {
  return fmt::format(
      "width={} tile={} unroll={} states_in_registers={} blocks_per_task={} ahead={} pieces={} staged={} chunks={} "
      "blocks_per_sm={} exp_on_fma={} rows_per_task={} row_unroll={}",
      width, tile, unroll, static_cast<int>(states_in_registers), blocks_per_task, ahead, pieces,
      static_cast<int>(staged), chunks, blocks_per_sm, exp_on_fma, rows_per_task, row_unroll);
}

}  // namespace mambac
