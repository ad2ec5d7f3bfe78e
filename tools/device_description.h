// Devices described in files: JSON objects of texts, numbers above 0, and `sources`, which says of each number the
// document that it is from.
#pragma once

#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mambac::tools {

class DeviceDescription {
 public:
  /// The names of the shipped ones of a kind (empty: all), in their order.
  static std::vector<std::string> shipped(std::string_view kind);
  /// A shipped one by its name, or a file by its path, which has a '/' or ends in ".json". InputError for another name,
  /// with those of the kind (empty: all), and as the constructor.
  static DeviceDescription find(const std::string& device, std::string_view kind = {});

  /// InputError, with the file, when the text is damaged: no JSON, no such object, no kind.
  DeviceDescription(std::string name, std::string_view text);

  const std::string& name() const { return name_; }
  const std::string& kind() const { return texts_.at("kind"); }
  /// InputError when it is another one.
  void expect_kind(std::string_view kind) const;
  /// The document named first.
  const std::string& source() const { return documents_.front(); }

  /// InputError when there is none of this name, or of another type.
  const std::string& text(const std::string& field);
  double number(const std::string& field);
  int count(const std::string& field, int most = std::numeric_limits<int>::max());  // a whole number
  /// InputError for a field that was not asked for, and for a number that no document is named for.
  void check_all_read() const;

 private:
  [[noreturn]] void fail(const std::string& found, const std::string& expected) const;

  std::string name_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, double> numbers_;
  std::vector<std::string> documents_;
  std::set<std::string> sourced_, read_{"kind"};
};

}  // namespace mambac::tools
