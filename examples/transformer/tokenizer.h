// SPDX-License-Identifier: Apache-2.0
// Text to tokens and back, with the vocabulary of a file of GGUF whose tokenizer.ggml.model is "llama": that of SentencePiece.
//
// A text is split into characters; then, again and again, the two neighbours whose joint piece has the best score are
// joined (the first of equals), until no two are a piece. Characters that are no piece become bytes, <0x00> to <0xFF>.
// Spaces are U+2581 within pieces. Control tokens such as <s> are not looked for in texts.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_TOKENIZER_H_
#define TESSERA_EXAMPLES_TRANSFORMER_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gguf.h"

namespace transformer {

// Kinds of tokens in files.
enum class TokenType : int { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

using Token = std::int32_t;

class Tokenizer {
 public:
  // Refers to the file. Throws std::runtime_error for vocabularies of another kind, or damaged ones.
  explicit Tokenizer(const Gguf& file);

  std::vector<Token> encode(std::string_view text) const;
  // A byte token is that byte; control tokens, and those behind the vocabulary, nothing.
  std::string decode(Token token) const;
  bool is_end(Token token) const { return token == end_; }
  index_t size() const { return static_cast<index_t>(pieces_.size()); }

 private:
  Token find(std::string_view piece) const;  // -1: none
  int byte_of(std::size_t token) const;      // likewise
  void encode_rest(std::string_view piece, std::vector<Token>& tokens) const;

  std::vector<std::string_view> pieces_;
  std::vector<double> scores_{};
  std::vector<TokenType> types_{};
  std::unordered_map<std::string_view, Token> numbers_{};
  std::vector<Token> bytes_{};  // of each byte, or -1
  Token begin_, end_, unknown_;
  bool adds_begin_, adds_space_;
};

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_TOKENIZER_H_
