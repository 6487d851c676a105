#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace mla {

/// Token text -> id. Open addressing over views: the texts must outlive the table and keep their addresses.
class StringTable {
 public:
  StringTable() : StringTable(0) {}
  explicit StringTable(size_t expected) {
    size_t capacity = 16;
    while (capacity < 2 * expected) capacity *= 2;
    slots_.assign(capacity, Slot{});
  }

  /// False when the text is there already (the first id stays).
  bool insert(std::string_view text, int32_t id) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    const size_t hash = std::hash<std::string_view>{}(text);
    Slot& slot = slots_[position(text, hash)];
    if (slot.id >= 0) return false;
    slot = {text, static_cast<uint32_t>(hash), id};
    if (text.size() > longest_) longest_ = text.size();
    ++size_;
    return true;
  }

  /// -1 when absent.
  int32_t find(std::string_view text) const {
    if (text.size() > longest_) return -1;
    return slots_[position(text, std::hash<std::string_view>{}(text))].id;
  }

  size_t size() const { return size_; }

 private:
  struct Slot {
    std::string_view text;
    uint32_t hash = 0;
    int32_t id = -1;
  };

  size_t position(std::string_view text, size_t hash) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash & mask;
    while (slots_[i].id >= 0 && (slots_[i].hash != static_cast<uint32_t>(hash) || slots_[i].text != text)) {
      i = (i + 1) & mask;
    }
    return i;
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.id >= 0) slots_[position(slot.text, std::hash<std::string_view>{}(slot.text))] = slot;
    }
  }

  std::vector<Slot> slots_;
  size_t size_ = 0;
  size_t longest_ = 0;
};

}  // namespace mla
