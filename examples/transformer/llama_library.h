// SPDX-License-Identifier: Apache-2.0
// libllama, found at run time, through the interface of its header: another implementation of the same models.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_LLAMA_LIBRARY_H_
#define TESSERA_EXAMPLES_TRANSFORMER_LLAMA_LIBRARY_H_

#include <llama.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace transformer {

// The functions that are used, as the header declares them.
struct LlamaFunctions {
  decltype(&llama_backend_init) backend_init;
  decltype(&ggml_backend_load_all_from_path) load_backends;
  decltype(&llama_log_set) log_set;
  decltype(&llama_model_default_params) model_params;
  decltype(&llama_context_default_params) context_params;
  decltype(&llama_model_load_from_file) load;
  decltype(&llama_model_free) free_model;
  decltype(&llama_model_get_vocab) vocabulary;
  decltype(&llama_vocab_n_tokens) tokens_in;
  decltype(&llama_tokenize) tokenize;
  decltype(&llama_init_from_model) init;
  decltype(&llama_free) free_context;
  decltype(&llama_get_memory) memory;
  decltype(&llama_memory_clear) clear;
  decltype(&llama_batch_init) new_batch;
  decltype(&llama_batch_free) free_batch;
  decltype(&llama_decode) decode;
  decltype(&llama_get_logits_ith) logits;
};

// Null, with the reason in `why`, if there is no such library.
const LlamaFunctions* find_llama(std::string& why);

// A model of a file on one thread, with a cache of `cache`. Throws std::runtime_error.
class Llama {
 public:
  Llama(const LlamaFunctions& functions, const std::filesystem::path& file, std::uint32_t context,
        ggml_type cache);
  ~Llama();
  Llama(const Llama&) = delete;
  Llama& operator=(const Llama&) = delete;

  std::vector<std::int32_t> encode(const std::string& text) const;
  // Appends tokens to those before, and computes the logits behind the last `wanted` of them.
  void run(std::span<const std::int32_t> tokens, std::size_t wanted);
  // Behind token i of the last run.
  std::span<const float> logits(std::size_t i) const;
  void clear();

 private:
  const LlamaFunctions& f_;
  std::unique_ptr<llama_model, decltype(&llama_model_free)> model_;
  std::unique_ptr<llama_context, decltype(&llama_free)> context_;
  llama_batch batch_;
  std::int32_t length_ = 0;
};

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_LLAMA_LIBRARY_H_
