# SPDX-License-Identifier: Apache-2.0
# Damages a file of GGUF in several ways. The program must end with exit status 1 and one sentence that says what is wrong.
#   cmake -DPROGRAM=<transformer> -DFILE=<a file of its generator, qwen3 of size tiny> -P bad_files.cmake
set(bad "${FILE}.bad")
set(ENV{LC_ALL} C)
function(check says)
  execute_process(COMMAND "${PROGRAM}" "${bad}" RESULT_VARIABLE code OUTPUT_QUIET ERROR_VARIABLE error)
  message(STATUS "${error}")
  if(NOT code EQUAL 1 OR NOT error MATCHES "^transformer: [^\n]*${says}[^\n]*\n$")
    message(FATAL_ERROR "it ended with \"${code}\", expected 1 and: ${says}")
  endif()
endfunction()
function(edited command says)
  execute_process(COMMAND sed "${command}" "${FILE}" OUTPUT_FILE "${bad}" COMMAND_ERROR_IS_FATAL ANY)
  check("${says}")
endfunction()
function(cut bytes says)
  execute_process(COMMAND head -c "${bytes}" "${FILE}" OUTPUT_FILE "${bad}" COMMAND_ERROR_IS_FATAL ANY)
  check("${says}")
endfunction()

cut(0 "empty")
cut(3 "no file of GGUF: it does not start with these letters")
foreach(bytes 4 7 8 23 24 100 1000 10000)
  cut(${bytes} "cut off: ${bytes} bytes are not all of its header")
endforeach()
foreach(bytes 20000 -1)
  cut(${bytes} "cut off: [0-9]+ bytes are not all of its tensors")
endforeach()
edited("1s/^GGUF/GGML/" "no file of GGUF: it does not start with these letters")
edited("1s/^GGUF\\x03/GGUF\\x02/" "expected version 3 of GGUF, got 2")
edited("s/blk\\.1\\.ffn_down/blk.7.ffn_down/" "no tensor blk\\.1\\.ffn_down\\.weight")
edited("s/token_embd/token_embe/" "no tensor token_embd\\.weight")
edited("s/blk\\.1\\.ffn_down/blk.0.ffn_down/" "blk\\.0\\.ffn_down\\.weight: twice")
edited("s/qwen3\\.block_count/qwen3.block_coumt/" "no key qwen3\\.block_count")
edited("s/\\(qwen3\\.feed_forward_length\\x04\\x00\\x00\\x00\\x00\\)\\x02/\\1\\x01/"
  "blk\\.0\\.ffn_gate\\.weight: expected 256 x 256, got 512 x 256")
edited("s/\\(qwen3\\.attention\\.head_count_kv\\x04\\x00\\x00\\x00\\)\\x02/\\1\\x03/"
  "qwen3\\.attention\\.head_count_kv: expected a divisor of 4, got 3")
edited("s/\\(qwen3\\.block_count\\x04\\x00\\x00\\x00\\)\\x02/\\1\\x00/" "qwen3\\.block_count: expected 1 to [0-9]+, got 0")
edited("s/\\(general\\.architecture\\x08\\x00\\x00\\x00\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\)qwen3/\\1mamba/"
  "general\\.architecture: expected one of llama, qwen2, qwen3, qwen3moe, got mamba")
edited("s/\\(tokenizer\\.ggml\\.model\\x08\\x00\\x00\\x00\\x05\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\)llama/\\1llamb/"
  "tokenizer\\.ggml\\.model: expected llama, got llamb")
edited("s/\\(output_norm\\.weight\\x01\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\)\\x00/\\1\\x63/"
  "output_norm\\.weight: type 99, which Tessera does not have")
edited("s/\\(output_norm\\.weight\\x01\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\)\\x00/\\1\\x01/"
  "output_norm\\.weight: expected F32, got F16")
file(REMOVE "${bad}")
check("No such file or directory")
