// SPDX-License-Identifier: Apache-2.0
#if __has_include(<llama.h>)  // else compare_llama.cc says that it is not there
#include "llama_library.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace transformer {
namespace {

// The processors that ggml was built for are libraries of their own, in a folder beside it, which a library that is not
// installed would not find.
void load_backends(const LlamaFunctions& f) {
  Dl_info info{};
  void* address = nullptr;
  std::memcpy(&address, &f.load_backends, sizeof(address));
  if (dladdr(address, &info) == 0) return;
  const auto beside = std::filesystem::path(info.dli_fname).parent_path() / "ggml";
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(beside, none)) {
    if (entry.is_directory()) f.load_backends(entry.path().c_str());
  }
}

}  // namespace

const LlamaFunctions* find_llama(std::string& why) {
  static LlamaFunctions f{};
  void* library = nullptr;
  for (const char* name : {"libllama.so.0", "libllama.so"}) {
    if ((library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) != nullptr) break;
  }
  if (library == nullptr) {
    why = dlerror();
    return nullptr;
  }
  const auto find = [&](const char* name, auto& function) {
    void* const p = dlsym(library, name);
    if (p == nullptr) why = std::string("libllama without ") + name;
    std::memcpy(&function, &p, sizeof(p));
  };
  find("llama_backend_init", f.backend_init);
  find("ggml_backend_load_all_from_path", f.load_backends);
  find("llama_log_set", f.log_set);
  find("llama_model_default_params", f.model_params);
  find("llama_context_default_params", f.context_params);
  find("llama_model_load_from_file", f.load);
  find("llama_model_free", f.free_model);
  find("llama_model_get_vocab", f.vocabulary);
  find("llama_vocab_n_tokens", f.tokens_in);
  find("llama_tokenize", f.tokenize);
  find("llama_init_from_model", f.init);
  find("llama_free", f.free_context);
  find("llama_get_memory", f.memory);
  find("llama_memory_clear", f.clear);
  find("llama_batch_init", f.new_batch);
  find("llama_batch_free", f.free_batch);
  find("llama_decode", f.decode);
  find("llama_get_logits_ith", f.logits);
  if (!why.empty()) return nullptr;
  f.log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
      },
      nullptr);
  load_backends(f);
  f.backend_init();
  return &f;
}

Llama::Llama(const LlamaFunctions& functions, const std::filesystem::path& file,
             std::uint32_t context, ggml_type cache)
    : f_(functions), model_(nullptr, f_.free_model), context_(nullptr, f_.free_context) {
  model_.reset(f_.load(file.c_str(), f_.model_params()));
  if (model_ == nullptr) throw std::runtime_error("libllama does not load " + file.string());
  llama_context_params params = f_.context_params();
  params.n_ctx = params.n_batch = params.n_ubatch = context;
  params.n_threads = params.n_threads_batch = 1;
  params.type_k = params.type_v = cache;
  if (cache == GGML_TYPE_F32) params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  context_.reset(f_.init(model_.get(), params));
  if (context_ == nullptr) throw std::runtime_error("libllama does not run " + file.string());
  batch_ = f_.new_batch(static_cast<std::int32_t>(context), 0, 1);
}

Llama::~Llama() { f_.free_batch(batch_); }

std::vector<std::int32_t> Llama::encode(const std::string& text) const {
  std::vector<std::int32_t> tokens(text.size() + 8);
  const int count =
      f_.tokenize(f_.vocabulary(model_.get()), text.data(), static_cast<std::int32_t>(text.size()),
                  tokens.data(), static_cast<std::int32_t>(tokens.size()), true, false);
  if (count < 0) throw std::runtime_error("libllama: more tokens than bytes");
  tokens.resize(static_cast<std::size_t>(count));
  return tokens;
}

void Llama::run(std::span<const std::int32_t> tokens, std::size_t wanted) {
  batch_.n_tokens = static_cast<std::int32_t>(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    batch_.token[i] = tokens[i];
    batch_.pos[i] = length_++;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = 0;
    batch_.logits[i] = i + wanted >= tokens.size() ? 1 : 0;
  }
  if (f_.decode(context_.get(), batch_) != 0) throw std::runtime_error("libllama: llama_decode");
}

std::span<const float> Llama::logits(std::size_t i) const {
  const float* const data = f_.logits(context_.get(), static_cast<std::int32_t>(i));
  if (data == nullptr) throw std::runtime_error("libllama: no logits");
  return {data, static_cast<std::size_t>(f_.tokens_in(f_.vocabulary(model_.get())))};
}

void Llama::clear() {
  f_.clear(f_.memory(context_.get()), true);
  length_ = 0;
}

}  // namespace transformer

#endif
