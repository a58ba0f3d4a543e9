// float16 and bfloat16 as bit patterns, in plain C++: rounding to nearest even, with subnormals,
// infinity and NaN. For the emulation and for the checks, which are not to use the kernels' own.

#ifndef CB_KERAS_OPS_CHECK_HALF_BITS_H_
#define CB_KERAS_OPS_CHECK_HALF_BITS_H_

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace cb_keras {

inline uint32_t FloatBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float BitsFloat(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float BfloatValue(uint16_t bits) { return BitsFloat(static_cast<uint32_t>(bits) << 16); }

inline uint16_t BfloatBits(float value) {
  const uint32_t bits = FloatBits(value);
  if (value != value) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float HalfValue(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  float value = exponent == 31   ? (fraction ? NAN : INFINITY)
                : exponent == 0  ? ldexpf(static_cast<float>(fraction), -24)
                                 : ldexpf(static_cast<float>(fraction + 1024), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

inline uint16_t HalfBits(float value) {
  const uint16_t sign = static_cast<uint16_t>((FloatBits(value) >> 16) & 0x8000);
  const float size = fabsf(value);
  if (value != value) return 0x7fff;
  if (size >= 65520) return static_cast<uint16_t>(sign | 0x7c00);
  int exponent = 0;
  frexpf(size, &exponent);
  // The spacing of float16 around `size`; below 2^-14 it no longer shrinks.
  const int spacing = (exponent - 11 < -24 || size == 0) ? -24 : exponent - 11;
  const int steps = static_cast<int>(nearbyintf(ldexpf(size, -spacing)));
  // A step count of 2048 carries into the exponent, as it should.
  return static_cast<uint16_t>(sign | (steps + ((spacing + 24) << 10)));
}

}  // namespace cb_keras

#endif  // CB_KERAS_OPS_CHECK_HALF_BITS_H_
