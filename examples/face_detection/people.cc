// SPDX-License-Identifier: Apache-2.0
#include "people.h"

#include <algorithm>
#include <cstdio>
#include <limits>

namespace faces {

// Itself if it is alone.
std::size_t People::nearest(std::size_t i) const {
  std::size_t best = i;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t j = 0; j < portraits_.size(); ++j) {
    const double d = distance(portraits_[i].face, portraits_[j].face);
    if (j == i || !(d < least)) continue;
    best = j;
    least = d;
  }
  return best;
}

std::vector<std::size_t> People::persons() const {
  std::vector<std::size_t> persons;
  std::vector<std::size_t> sizes;  // of each person
  for (std::size_t i = 0; i < portraits_.size(); ++i) {
    std::vector<double> sums(sizes.size());
    for (std::size_t j = 0; j < i; ++j) {
      sums[persons[j] - 1] += distance(portraits_[i].face, portraits_[j].face);
    }
    std::size_t best = sizes.size();
    double least = kOnePerson;
    for (std::size_t person = 0; person < sizes.size(); ++person) {
      const double mean = sums[person] / static_cast<double>(sizes[person]);
      if (!(mean < least)) continue;
      best = person;
      least = mean;
    }
    if (best == sizes.size()) sizes.push_back(0);
    ++sizes[best];
    persons.push_back(best + 1);
  }
  return persons;
}

bool People::recognizes(std::size_t i, const Descriptor& picture) const {
  const double own = distance(portraits_[i].face, picture);
  for (std::size_t j = 0; j < portraits_.size(); ++j) {
    if (j != i && !(own < distance(portraits_[j].face, picture))) return false;
  }
  return true;
}

void People::print(bool quantized) const {
  const std::vector<std::size_t> persons = this->persons();
  std::size_t width = 4;
  for (const Portrait& p : portraits_) width = std::max(width, p.name().size());
  const int w = static_cast<int>(width);
  std::printf("%-*s  person  %-*s  distance  mirrored  shifted%s\n", w, "face", w, "nearest",
              quantized ? "  to f32" : "");
  double furthest = 0, repeated = 0;
  std::size_t pairs = 0, unlike = 0, mirrored = 0, shifted = 0;
  for (std::size_t i = 0; i < portraits_.size(); ++i) {
    const Portrait& p = portraits_[i];
    const Portrait& neighbour = portraits_[nearest(i)];
    std::printf("%-*s  %6zu  %-*s  %8.3f  %8.3f  %7.3f", w, p.name().c_str(), persons[i], w,
                neighbour.name().c_str(), distance(p.face, neighbour.face),
                distance(p.face, p.mirrored), distance(p.face, p.shifted));
    if (quantized) {
      const double to_exact = distance(p.face, p.exact);
      std::printf("  %6.3f", to_exact);
      furthest = std::max(furthest, to_exact);
    }
    std::printf("\n");
    repeated = std::max(repeated, distance(p.face, p.again));
    mirrored += recognizes(i, p.mirrored) ? 1 : 0;
    shifted += recognizes(i, p.shifted) ? 1 : 0;
    for (std::size_t j = 0; j < i; ++j) {
      if (portraits_[j].photograph != p.photograph) continue;
      ++pairs;
      unlike += distance(portraits_[j].face, p.face) > kOnePerson ? 1 : 0;
    }
  }
  const std::size_t count = portraits_.size();
  std::printf("people         %zu\n",
              persons.empty() ? 0 : *std::max_element(persons.begin(), persons.end()));
  std::printf("recognized     %zu of %zu mirrored, %zu of %zu shifted\n", mirrored, count, shifted,
              count);
  std::printf("told apart     %zu of %zu pairs on one photograph\n", unlike, pairs);
  std::printf("once more      %g\n", repeated);
  if (quantized) std::printf("most to f32    %.3f\n", furthest);
}

}  // namespace faces
