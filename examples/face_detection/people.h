// SPDX-License-Identifier: Apache-2.0
// Faces of all photographs beside each other: who is whose neighbour, and which are of one person.
#ifndef TESSERA_EXAMPLES_FACE_DETECTION_PEOPLE_H_
#define TESSERA_EXAMPLES_FACE_DETECTION_PEOPLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "recognizer.h"

namespace faces {

// One face, and other pictures of it, which should be closer to it than all other faces.
struct Portrait {
  std::string photograph;
  std::size_t number;  // on the photograph, from 1
  Descriptor face;
  Descriptor mirrored, shifted;
  Descriptor again;  // once more, after the others
  Descriptor exact;  // in f32, if `face` comes from integers

  std::string name() const { return photograph + " " + std::to_string(number); }
};

class People {
 public:
  void add(Portrait portrait) { portraits_.push_back(std::move(portrait)); }

  // A line for each face, then how far the descriptors keep what they promise.
  void print(bool quantized) const;

 private:
  // The package takes faces that are closer for those of one person, and those that are not for strangers.
  static constexpr double kOnePerson = 0.6;

  std::size_t nearest(std::size_t i) const;
  // The number of the person, from 1, of each face: of those before it the closest in the mean of their faces, if that
  // is close enough, or else a new one.
  std::vector<std::size_t> persons() const;
  // Whether no other face is as close to face i as this picture of it.
  bool recognizes(std::size_t i, const Descriptor& picture) const;

  std::vector<Portrait> portraits_{};
};

}  // namespace faces

#endif  // TESSERA_EXAMPLES_FACE_DETECTION_PEOPLE_H_
