#include "base/cpu_features.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace mla {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(uint32_t word, int index) { return (word >> index) & 1U; }

/// Which register states the operating system saves on a context switch (XCR0), 0 when it cannot be asked.
uint64_t saved_states(const Registers& leaf1) {
  if (!bit(leaf1.ecx, 27)) return 0;  // OSXSAVE
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

/// Asks Linux for the tile registers: it hands them out to processes that asked (its document "Dynamically enabled XSTATE
/// features"), for all threads from then on.
bool tiles_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

std::string brand() {
  std::array<char, 49> text{};
  for (uint32_t i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002U + i);
    std::memcpy(text.data() + 16 * i, &r, 16);
  }
  std::string name(text.data());
  const size_t begin = name.find_first_not_of(' ');
  return begin == std::string::npos ? "unknown" : name.substr(begin);
}

CpuFeatures detect() {
  CpuFeatures f;
  const Registers leaf0 = cpuid(0);
  char vendor[13] = {};
  std::memcpy(vendor, &leaf0.ebx, 4);
  std::memcpy(vendor + 4, &leaf0.edx, 4);
  std::memcpy(vendor + 8, &leaf0.ecx, 4);
  f.vendor = vendor;
  f.model = brand();

  const Registers leaf1 = cpuid(1), leaf7 = cpuid(7), leaf7_1 = cpuid(7, 1);
  const uint64_t saved = saved_states(leaf1);
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;
  f.avx2 = (saved & kYmm) == kYmm && bit(leaf1.ecx, 28) && bit(leaf1.ecx, 12) && bit(leaf1.ecx, 29) && bit(leaf7.ebx, 5);
  f.avx512 = f.avx2 && (saved & kZmm) == kZmm && bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) && bit(leaf7.ebx, 30) &&
             bit(leaf7.ebx, 31);
  f.avx512_vnni = f.avx512 && bit(leaf7.ecx, 11);
  f.avx512_bf16 = f.avx512 && bit(leaf7_1.eax, 5);
  f.amx_tile = (saved & kTiles) == kTiles && bit(leaf7.edx, 24) && tiles_permitted();
  f.amx_bf16 = f.amx_tile && bit(leaf7.edx, 22);
  f.amx_int8 = f.amx_tile && bit(leaf7.edx, 25);
  return f;
}

bool available(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return true;
    case Isa::kAvx2: return cpu_features().avx2;
    case Isa::kAvx512: return cpu_features().avx512;
    case Isa::kAvx512Vnni: return cpu_features().avx512_vnni;
    case Isa::kAvx512Bf16: return cpu_features().avx512_vnni && cpu_features().avx512_bf16;
    case Isa::kAmx: return available(Isa::kAvx512Bf16) && cpu_features().amx_bf16;
  }
  return false;
}

constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16, Isa::kAmx};

std::string needs(Isa isa) {
  switch (isa) {
    case Isa::kScalar: break;
    case Isa::kAvx2: return "AVX2, FMA and F16C with operating-system support for YMM registers";
    case Isa::kAvx512: return "AVX-512 F, BW, DQ and VL with operating-system support for ZMM registers";
    case Isa::kAvx512Vnni: return "AVX-512 VNNI";
    case Isa::kAvx512Bf16: return "AVX-512 VNNI and BF16";
    case Isa::kAmx: return "AMX BF16 (with AVX-512 VNNI and BF16, and Linux 5.16 or newer, which hands out tile registers)";
  }
  return "";
}

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512vnni";
    case Isa::kAvx512Bf16: return "avx512bf16";
    case Isa::kAmx: return "amx";
  }
  return "unknown";
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (Isa isa : kIsas) {
    if (available(isa)) isas.push_back(isa);
  }
  return isas;
}

Result<Isa> choose_isa(std::string_view wanted) {
  const char* variable = std::getenv("MLA_ISA");
  const std::string best(isa_name(available_isas().back()));
  const bool forced = wanted.empty() && variable != nullptr;
  if (forced) wanted = variable;
  if (wanted.empty()) return available_isas().back();
  const std::string what = (forced ? "MLA_ISA=" : "instruction set ") + std::string(wanted);
  for (Isa isa : kIsas) {
    if (isa_name(isa) != wanted) continue;
    if (available(isa)) return isa;
    return Error::usage(what + ": this machine (" + cpu_features().model + ") lacks " + needs(isa) + "; " +
                        (forced ? "unset MLA_ISA to use " : "its best is ") + best);
  }
  return Error::usage(what + ": unknown; expected scalar, avx2, avx512, avx512vnni, avx512bf16 or amx");
}

std::vector<std::string> refused_isas(Isa chosen) {
  std::vector<std::string> lines;
  for (Isa isa : kIsas) {
    if (isa <= chosen) continue;
    lines.push_back(std::string(isa_name(isa)) + ": " +
                    (available(isa) ? "available, but MLA_ISA asks for " + std::string(isa_name(chosen))
                                    : "this machine lacks " + needs(isa)));
  }
  return lines;
}

}  // namespace mla
