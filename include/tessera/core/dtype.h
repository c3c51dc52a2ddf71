// SPDX-License-Identifier: Apache-2.0
// Element types: the 16-bit floats, which C++20 lacks, and what each type is called and sums into.
#ifndef TESSERA_CORE_DTYPE_H_
#define TESSERA_CORE_DTYPE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tessera {

// bfloat16: the upper half of a float. 8 exponent bits, 7 mantissa bits.
// A storage type: it converts to float exactly, and from float rounding to nearest, ties to even.
// There is no arithmetic on it; compute in float.
struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  constexpr explicit bf16(float x) : bits(round_from(x)) {}
  constexpr explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }

  static constexpr bf16 from_bits(std::uint16_t bits) {
    bf16 x{};
    x.bits = bits;
    return x;
  }

 private:
  // A NaN keeps its sign and the upper part of its payload and becomes quiet: rounding it like a
  // number could carry it into infinity.
  static constexpr std::uint16_t round_from(float x) {
    const auto u = std::bit_cast<std::uint32_t>(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);
    return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
};

// IEEE 754 binary16. 5 exponent bits, 10 mantissa bits, subnormals, largest finite value 65504.
// A storage type like bf16, with the same rounding; values from 65520 on become infinity.
struct f16 {
  std::uint16_t bits;

  f16() = default;
  constexpr explicit f16(float x) : bits(round_from(x)) {}
  constexpr explicit operator float() const { return widen(bits); }

  static constexpr f16 from_bits(std::uint16_t bits) {
    f16 x{};
    x.bits = bits;
    return x;
  }

 private:
  static constexpr float widen(std::uint16_t h) {
    const std::uint32_t sign = (h & 0x8000u) << 16;
    // Exponent and mantissa, where float has them.
    const std::uint32_t magnitude = (h & 0x7fffu) << 13;
    if (magnitude < 0x00800000u) {
      // Subnormal: put the mantissa under an implicit one of weight 2^-14, and take the one away.
      const float x = std::bit_cast<float>(magnitude | 0x38800000u) - 0x1p-14f;
      return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) | sign);
    }
    if (magnitude == 0x0f800000u) return std::bit_cast<float>(sign | 0x7f800000u);
    if (magnitude > 0x0f800000u) {  // NaN
      return std::bit_cast<float>(sign | magnitude | 0x7fc00000u);
    }
    return std::bit_cast<float>(sign | (magnitude + 0x38000000u));  // bias 127 - 15 = 112
  }

  static constexpr std::uint16_t round_from(float x) {
    const auto u = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (u >> 16) & 0x8000u;
    std::uint32_t a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((a >> 13) & 0x3ffu));
    if (a >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520: infinity
    if (a < 0x38800000u) {
      // Below 2^-14 the result is a multiple of 2^-24, the unit of the last place of 0.5: adding
      // 0.5 rounds it, and the mantissa is the result.
      const float rounded = std::bit_cast<float>(a) + 0.5f;
      return static_cast<std::uint16_t>(sign |
                                        (std::bit_cast<std::uint32_t>(rounded) - 0x3f000000u));
    }
    a += 0xfffu + ((a >> 13) & 1u);
    return static_cast<std::uint16_t>(sign | ((a - 0x38000000u) >> 13));
  }
};

// Element types by name, for interfaces that are not templates.
enum class DType : std::uint8_t { kF64, kF32, kBF16, kF16, kS32, kU32, kS16, kU16, kS8, kU8 };

// What the library knows about an element type T. Undefined for every other type, so that using one
// is an error at compile time.
//   kDType       its DType
//   kName        the name in messages, test names and benchmark names
//   kIsFloat     floating point, including the storage types
//   Accumulator  the type that sums of products are kept in
template <class T>
struct DTypeTraits;

#define TESSERA_DTYPE(Type, enumerator, name, is_float, Sum) \
  template <>                                                \
  struct DTypeTraits<Type> {                                 \
    static constexpr DType kDType = DType::enumerator;       \
    static constexpr std::string_view kName = name;          \
    static constexpr bool kIsFloat = is_float;               \
    using Accumulator = Sum;                                 \
  };
TESSERA_DTYPE(double, kF64, "f64", true, double)
TESSERA_DTYPE(float, kF32, "f32", true, float)
TESSERA_DTYPE(bf16, kBF16, "bf16", true, float)
TESSERA_DTYPE(f16, kF16, "f16", true, float)
TESSERA_DTYPE(std::int32_t, kS32, "s32", false, std::int32_t)
TESSERA_DTYPE(std::uint32_t, kU32, "u32", false, std::uint32_t)
TESSERA_DTYPE(std::int16_t, kS16, "s16", false, std::int32_t)
TESSERA_DTYPE(std::uint16_t, kU16, "u16", false, std::uint32_t)
TESSERA_DTYPE(std::int8_t, kS8, "s8", false, std::int32_t)
TESSERA_DTYPE(std::uint8_t, kU8, "u8", false, std::int32_t)
#undef TESSERA_DTYPE

template <class T>
using Accumulator = typename DTypeTraits<T>::Accumulator;

// True for the types above.
template <class T>
concept Element = requires { DTypeTraits<T>::kDType; };

// Bytes per element.
constexpr std::ptrdiff_t size_of(DType type) {
  switch (type) {
    case DType::kF64:
      return 8;
    case DType::kF32:
    case DType::kS32:
    case DType::kU32:
      return 4;
    case DType::kS8:
    case DType::kU8:
      return 1;
    default:
      return 2;
  }
}

// Calls f with DTypeTraits of the type that `type` names.
template <class F>
constexpr decltype(auto) visit(DType type, F&& f) {
  switch (type) {
    case DType::kF64:
      return f(DTypeTraits<double>());
    case DType::kF32:
      return f(DTypeTraits<float>());
    case DType::kBF16:
      return f(DTypeTraits<bf16>());
    case DType::kF16:
      return f(DTypeTraits<f16>());
    case DType::kS32:
      return f(DTypeTraits<std::int32_t>());
    case DType::kU32:
      return f(DTypeTraits<std::uint32_t>());
    case DType::kS16:
      return f(DTypeTraits<std::int16_t>());
    case DType::kU16:
      return f(DTypeTraits<std::uint16_t>());
    case DType::kS8:
      return f(DTypeTraits<std::int8_t>());
    default:
      return f(DTypeTraits<std::uint8_t>());
  }
}

}  // namespace tessera

#endif  // TESSERA_CORE_DTYPE_H_
