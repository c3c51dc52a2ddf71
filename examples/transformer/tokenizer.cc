// SPDX-License-Identifier: Apache-2.0
#include "tokenizer.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <queue>
#include <stdexcept>
#include <utility>

namespace transformer {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581

// Bytes of the character of UTF-8 that starts with `first`; 1 if none does.
std::size_t character_bytes(unsigned char first) {
  return first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
}

// Neighbours that make a piece when they are joined.
struct Pair {
  double score;
  std::size_t left, right, bytes;  // symbols, and how long they were together

  bool operator<(const Pair& other) const {  // the top of a queue is the largest one
    return score < other.score || (score == other.score && left > other.left);
  }
};

struct Symbol {
  std::size_t start, bytes;  // none: it was joined to one before
  std::ptrdiff_t before, behind;
};

constexpr Token kNone = -1;

}  // namespace

Tokenizer::Tokenizer(const Gguf& file)
    : pieces_(file.texts("tokenizer.ggml.tokens")),
      begin_(static_cast<Token>(file.integer("tokenizer.ggml.bos_token_id", 1))),
      end_(static_cast<Token>(file.integer("tokenizer.ggml.eos_token_id", 2))),
      unknown_(static_cast<Token>(file.integer("tokenizer.ggml.unknown_token_id", 0))),
      adds_begin_(file.flag("tokenizer.ggml.add_bos_token", true)),
      adds_space_(file.flag("tokenizer.ggml.add_space_prefix", true)) {
  const std::string_view model = file.text("tokenizer.ggml.model");
  if (model != "llama") {
    throw std::runtime_error("tokenizer.ggml.model: expected llama, got " + std::string(model) +
                             "; such a model takes its prompt as --tokens");
  }
  scores_ = file.numbers("tokenizer.ggml.scores");
  const std::vector<double> types = file.numbers("tokenizer.ggml.token_type");
  for (const auto& [name, count] :
       {std::pair("scores", scores_.size()), {"token_type", types.size()}}) {
    if (count != pieces_.size()) {
      throw std::runtime_error(std::string("tokenizer.ggml.") + name + ": expected " +
                               std::to_string(pieces_.size()) + " elements, got " +
                               std::to_string(count));
    }
  }
  for (const double type : types) {
    if (!(type >= 0 && type <= static_cast<double>(TokenType::kByte))) {
      throw std::runtime_error("tokenizer.ggml.token_type: expected 0 to 6, got " +
                               std::to_string(type));
    }
    types_.push_back(static_cast<TokenType>(static_cast<int>(type)));
  }
  for (const Token token : {begin_, end_, unknown_}) {
    if (token < 0 || token >= size()) {
      throw std::runtime_error("tokenizer.ggml: a special token " + std::to_string(token) + " of " +
                               std::to_string(size()));
    }
  }
  bytes_.assign(256, kNone);
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const auto token = static_cast<Token>(i);
    numbers_.emplace(pieces_[i], token);
    if (const int byte = byte_of(i); byte >= 0) bytes_[static_cast<std::size_t>(byte)] = token;
  }
}

Token Tokenizer::find(std::string_view piece) const {
  const auto at = numbers_.find(piece);
  return at == numbers_.end() ? kNone : at->second;
}

// Of a piece such as <0x0A>.
int Tokenizer::byte_of(std::size_t token) const {
  const std::string_view piece = pieces_[token];
  if (types_[token] != TokenType::kByte || piece.size() != 6) return kNone;
  int byte = kNone;
  std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  return byte;
}

// What is no piece: its bytes.
void Tokenizer::encode_rest(std::string_view piece, std::vector<Token>& tokens) const {
  for (const char c : piece) {
    const Token byte = bytes_[static_cast<unsigned char>(c)];
    tokens.push_back(byte == kNone ? unknown_ : byte);
  }
}

std::vector<Token> Tokenizer::encode(std::string_view text) const {
  std::string spaced = adds_space_ && !text.empty() ? std::string(kSpace) : std::string();
  for (const char c : text) c == ' ' ? spaced.append(kSpace) : spaced.append(1, c);

  std::vector<Symbol> symbols;
  for (std::size_t at = 0; at < spaced.size();) {
    const std::size_t bytes =
        std::min(character_bytes(static_cast<unsigned char>(spaced[at])), spaced.size() - at);
    const auto number = static_cast<std::ptrdiff_t>(symbols.size());
    symbols.push_back({at, bytes, number - 1, number + 1});
    at += bytes;
  }
  if (!symbols.empty()) symbols.back().behind = kNone;

  std::priority_queue<Pair> pairs;
  const auto offer = [&](std::ptrdiff_t left, std::ptrdiff_t right) {
    if (left < 0 || right < 0) return;
    const Symbol &a = symbols[static_cast<std::size_t>(left)],
                 &b = symbols[static_cast<std::size_t>(right)];
    const Token token = find(std::string_view(spaced).substr(a.start, a.bytes + b.bytes));
    if (token == kNone) return;
    pairs.push({scores_[static_cast<std::size_t>(token)], static_cast<std::size_t>(left),
                static_cast<std::size_t>(right), a.bytes + b.bytes});
  };
  for (std::size_t i = 1; i < symbols.size(); ++i) {
    offer(static_cast<std::ptrdiff_t>(i) - 1, static_cast<std::ptrdiff_t>(i));
  }
  while (!pairs.empty()) {
    const Pair pair = pairs.top();
    pairs.pop();
    Symbol &a = symbols[pair.left], &b = symbols[pair.right];
    if (a.bytes == 0 || b.bytes == 0 || a.bytes + b.bytes != pair.bytes) continue;  // out of date
    a.bytes = pair.bytes;
    b.bytes = 0;
    a.behind = b.behind;
    if (b.behind >= 0) {
      symbols[static_cast<std::size_t>(b.behind)].before = static_cast<std::ptrdiff_t>(pair.left);
    }
    offer(a.before, static_cast<std::ptrdiff_t>(pair.left));
    offer(static_cast<std::ptrdiff_t>(pair.left), a.behind);
  }

  std::vector<Token> tokens;
  if (adds_begin_) tokens.push_back(begin_);
  for (const Symbol& s : symbols) {
    if (s.bytes == 0) continue;
    const std::string_view piece = std::string_view(spaced).substr(s.start, s.bytes);
    const Token token = find(piece);
    if (token == kNone) {
      encode_rest(piece, tokens);
    } else {
      tokens.push_back(token);
    }
  }
  return tokens;
}

std::string Tokenizer::decode(Token token) const {
  const auto i = static_cast<std::size_t>(token);
  if (i >= pieces_.size()) return {};
  if (types_[i] == TokenType::kControl || types_[i] == TokenType::kUnknown) return {};
  if (const int byte = byte_of(i); byte >= 0) return {static_cast<char>(byte)};
  std::string text(pieces_[i]);
  for (std::size_t at = 0; (at = text.find(kSpace, at)) != std::string::npos; ++at) {
    text.replace(at, kSpace.size(), " ");
  }
  return text;
}

}  // namespace transformer
