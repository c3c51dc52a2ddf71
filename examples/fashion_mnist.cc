// SPDX-License-Identifier: Apache-2.0
// Trains a network on Fashion-MNIST; every product, forward and backward, is a tessera::gemm.
//
//   h = relu(x W1 + b1)    x: [batch, 784], h: [batch, 256]
//   p = softmax(h W2 + b2)                  p: [batch, 10]
//
// Loss: cross-entropy. Training: stochastic gradient descent with momentum. A gradient, its
// momentum and the learning rate are one call: V = momentum * V - rate / batch * X^T D is gemm with
// alpha, beta and a transposed view.
//
// The weights at the end have the same bits on every target with fused multiply-add and for any
// number of threads. The products are Tessera's; all other arithmetic is in this file and keeps
// three rules, so that no compiler flag is needed:
//   - no sum whose order a compiler, a library or a number of threads could choose;
//   - no a * b + c but std::fma: else the compiler decides whether it rounds once or twice;
//   - of the mathematical functions only those that IEEE 754 defines to the last bit.
#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "bench/peak.h"
#include "bench/progress.h"
#include "tessera/tessera.h"

namespace {

namespace ts = tessera;
using ts::index_t;
using Floats = std::vector<float>;
using Input = ts::View<const float, 2>;
using Output = ts::View<float, 2>;

constexpr index_t kPixels = 28 * 28, kHidden = 256, kClasses = 10;
constexpr double kLearningRate = 0.05;  // falls linearly, epoch by epoch
constexpr double kMomentum = 0.9;

double seconds_now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// ---- Command line

#ifndef TESSERA_FASHION_MNIST_DIR
#define TESSERA_FASHION_MNIST_DIR "."  // the build says where it put the data
#endif

constexpr char kUsage[] =
    "usage: fashion_mnist [options] [directory of the four unpacked *-ubyte files]\n"
    "  --epochs N   passes over the training images (5)\n"
    "  --batch N    images per step (128)\n"
    "  --threads N  threads of the products (1)\n"
    "  --limit N    use only the first N images of each set\n"
    "  --help       this text\n"
    "TESSERA_TARGET=name in the environment chooses the instruction set.\n"
    "default directory: " TESSERA_FASHION_MNIST_DIR "\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string directory = TESSERA_FASHION_MNIST_DIR;
  index_t epochs = 5, batch = 128, threads = 1, limit = 60000;
  bool help = false;
};

index_t parse_count(std::string_view option, const char* text, index_t most) {
  index_t value = 0;
  const char* const end = text ? text + std::strlen(text) : nullptr;
  if (text == nullptr || std::from_chars(text, end, value).ptr != end || value < 1 ||
      value > most) {
    throw UsageError(std::string(option) + " takes a number from 1 to " + std::to_string(most) +
                     ", got " + (text ? "\"" + std::string(text) + "\"" : "nothing"));
  }
  return value;
}

Options parse_options(char** argument) {  // a list that ends with a null pointer
  Options options;
  bool has_directory = false;
  while (*argument != nullptr) {
    const std::string_view option = *argument++;
    index_t* value = option == "--epochs"    ? &options.epochs
                     : option == "--batch"   ? &options.batch
                     : option == "--threads" ? &options.threads
                     : option == "--limit"   ? &options.limit
                                             : nullptr;
    if (value != nullptr) {
      *value = parse_count(option, *argument, value == &options.threads ? 64 : 60000);
      ++argument;
    } else if (option == "--help" || option == "-h") {
      options.help = true;
    } else if (option.starts_with("-")) {
      throw UsageError("unknown option " + std::string(option));
    } else if (std::exchange(has_directory, true)) {
      throw UsageError("more than one directory: " + std::string(option));
    } else {
      options.directory = option;
    }
  }
  return options;
}

// ---- Data

// The bytes of an idx file: 00 00 08 rank, then the extents as big-endian 32-bit numbers, then the
// elements. `extents` are those that the caller can use; the first one is set to the number found.
std::vector<std::uint8_t> read_idx(const std::string& path, std::vector<std::uint32_t>& extents) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const bool packed = std::ifstream(path + ".gz").good();
    throw std::runtime_error(packed ? path + ".gz is compressed: unpack it with gzip -dk"
                                    : "cannot open " + path + " (--help says what it looks for)");
  }
  const auto read_word = [&file] {
    unsigned char b[4] = {};
    file.read(reinterpret_cast<char*>(b), 4);
    return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 | b[3];
  };
  const std::uint32_t magic = read_word();
  if (magic != (0x0800u | extents.size())) {
    throw std::runtime_error(path + " is not an idx file of bytes of rank " +
                             std::to_string(extents.size()));
  }
  std::size_t bytes = extents[0] = read_word();
  for (std::size_t axis = 1; axis < extents.size(); ++axis) {
    if (const std::uint32_t found = read_word(); found != extents[axis]) {
      throw std::runtime_error(path + ": extent " + std::to_string(axis) + " is " +
                               std::to_string(found) + ", expected " +
                               std::to_string(extents[axis]));
    }
    bytes *= extents[axis];
  }
  if (bytes == 0 || bytes > 60000u * kPixels) {
    throw std::runtime_error(path + ": expected 1 to 60000 items, got " +
                             std::to_string(extents[0]));
  }
  std::vector<std::uint8_t> data(bytes);
  if (!file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(bytes))) {
    throw std::runtime_error(path + " ends after " + std::to_string(file.gcount()) + " of " +
                             std::to_string(bytes) + " bytes");
  }
  return data;
}

struct Dataset {
  std::vector<std::uint8_t> images;  // [count, 784]
  std::vector<std::uint8_t> labels;  // [count], 0 .. 9
  index_t count = 0;
};

Dataset read_dataset(const std::string& directory, const std::string& prefix, index_t limit) {
  std::vector<std::uint32_t> image_extents = {0, 28, 28}, label_extents = {0};
  Dataset set;
  set.images = read_idx(directory + "/" + prefix + "-images-idx3-ubyte", image_extents);
  set.labels = read_idx(directory + "/" + prefix + "-labels-idx1-ubyte", label_extents);
  if (image_extents[0] != label_extents[0]) {
    throw std::runtime_error(directory + ": " + std::to_string(image_extents[0]) + " " + prefix +
                             " images, but " + std::to_string(label_extents[0]) + " labels");
  }
  if (*std::max_element(set.labels.begin(), set.labels.end()) >= kClasses) {
    throw std::runtime_error(directory + ": a " + prefix + " label is not in 0 .. 9");
  }
  set.count = std::min<index_t>(image_extents[0], limit);
  return set;
}

// ---- Deterministic arithmetic

// SplitMix64's mixing of a counter: every bit of the result depends on every bit of x.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The i-th number of stream `seed`, uniform in [-1, 1): a signed integer of 24 bits, so exact.
float uniform(std::uint64_t seed, std::uint64_t i) {
  const auto bits = static_cast<std::int64_t>(mix(mix(seed) + i)) >> 40;
  return static_cast<float>(bits) * 0x1p-23f;
}

// Fisher-Yates.
void shuffle(std::vector<index_t>& order, std::uint64_t seed) {
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[mix(mix(seed) + i) % i]);
  }
}

// e^x for x <= 0 to about one unit in the last place, and 0 below the smallest normal number.
// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its series, whose next term is below 6e-9; then 2^n.
float exp_nonpositive(float x) {
  if (!(x > -87.0f)) return x != x ? x : 0.0f;
  const float n = std::nearbyint(x * 0x1.715476p+0f);  // 1 / ln 2
  float r = std::fma(n, -0x1.62e43p-1f, x);            // ln 2 in two parts
  r = std::fma(n, 0x1.05c61p-29f, r);
  float e = 1.0f / 5040;
  for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f}) {
    e = std::fma(e, r, c);
  }
  return e * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

// FNV-1a over the bits, lowest byte first on every machine.
std::uint64_t digest(std::uint64_t hash, const Floats& values) {
  for (const float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ ((bits >> shift) & 255)) * 0x100000001b3u;
    }
  }
  return hash;
}

// ---- Threads

// Tessera starts no threads: a program lends it those that it has. These wait for work and share
// each call's tasks; whoever is free takes the next.
class Threads {
 public:
  explicit Threads(index_t count) {
    for (index_t i = 1; i < count; ++i) helpers_.emplace_back([this] { help(); });
  }
  ~Threads() {
    stop_ = true;
    start();
    for (std::thread& helper : helpers_) helper.join();
  }

  // Calls task(0) .. task(n - 1), each once, and returns when all are done.
  void operator()(index_t n, ts::TaskRef task) {
    task_ = &task;
    tasks_ = n;
    next_ = 0;
    working_ = helpers_.size();
    start();
    work();
    for (std::size_t working; (working = working_) != 0;) working_.wait(working);
  }

 private:
  void start() {
    ++rounds_;
    rounds_.notify_all();
  }
  void work() {
    for (index_t i; (i = next_++) < tasks_;) (*task_)(i);
  }
  void help() {
    for (std::uint32_t round = 0;; ++round) {
      rounds_.wait(round);
      if (stop_) return;
      work();
      if (--working_ == 0) working_.notify_one();
    }
  }

  std::vector<std::thread> helpers_;
  std::atomic<std::uint32_t> rounds_ = 0;
  std::atomic<std::size_t> working_ = 0;
  std::atomic<index_t> next_ = 0;
  const ts::TaskRef* task_ = nullptr;
  index_t tasks_ = 0;
  bool stop_ = false;
};

// ---- Products

// tessera::gemm, with a stopwatch.
class Products {
 public:
  explicit Products(ts::Context& context) : context_(context) {}

  // c = alpha * a * b + beta * c
  void operator()(const Input& a, const Input& b, const Output& c, double alpha, double beta) {
    const double start = seconds_now();
    ts::gemm(a, b, c, {.alpha = alpha, .beta = beta, .context = &context_});
    seconds_ += seconds_now() - start;
    flops_ += 2.0 * static_cast<double>(a.extent(0)) * static_cast<double>(a.extent(1)) *
              static_cast<double>(b.extent(1));
  }

  double gflops() const { return seconds_ > 0 ? 1e-9 * flops_ / seconds_ : 0; }

 private:
  ts::Context& context_;
  double seconds_ = 0, flops_ = 0;
};

// ---- The network

struct Layer {
  index_t inputs, outputs;
  Floats weights, bias;                    // [inputs, outputs], [1, outputs]
  Floats weights_velocity, bias_velocity;  // likewise

  // Uniform in +-sqrt(6 / inputs), after He et al. 2015; biases start at zero.
  Layer(index_t in, index_t out, std::uint64_t seed) : inputs(in), outputs(out) {
    const auto size = static_cast<std::size_t>(in * out);
    weights_velocity.resize(size);
    bias.resize(static_cast<std::size_t>(out));
    bias_velocity.resize(static_cast<std::size_t>(out));
    weights.resize(size);
    const float bound = std::sqrt(6.0f / static_cast<float>(in));
    for (std::size_t i = 0; i < size; ++i) weights[i] = bound * uniform(seed, i);
  }

  // y = x W + b: the rows of y start as the bias, and the product is added to them.
  void forward(Products& product, const Input& x, const Output& y) const {
    for (index_t i = 0; i < y.extent(0); ++i) std::copy(bias.begin(), bias.end(), &y(i, 0));
    product(x, ts::row_major(weights, {inputs, outputs}), y, 1, 1);
  }

  // dx = dy W^T
  void backward(Products& product, const Input& dy, const Output& dx) const {
    product(dy, ts::transposed(ts::row_major(weights, {inputs, outputs})), dx, 1, 0);
  }

  // One step down the mean gradient of the batch, x^T dy / batch.
  void update(Products& product, const Input& x, const Input& dy, double rate) {
    const index_t batch = x.extent(0);
    const double alpha = -rate / static_cast<double>(batch);
    const float one = 1;
    const Input ones = ts::strided(&one, {index_t{1}, batch}, {0, 0});  // a row of ones: dy's sums
    product(ts::transposed(x), dy, ts::row_major(weights_velocity, {inputs, outputs}), alpha,
            kMomentum);
    product(ones, dy, ts::row_major(bias_velocity, {index_t{1}, outputs}), alpha, kMomentum);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] += weights_velocity[i];
    for (std::size_t i = 0; i < bias.size(); ++i) bias[i] += bias_velocity[i];
  }
};

class Network {
 public:
  Network(ts::Context& context, index_t batch)
      : product_(context),
        x_(static_cast<std::size_t>(batch * kPixels)),
        h_(static_cast<std::size_t>(batch * kHidden)),
        y_(static_cast<std::size_t>(batch * kClasses)),
        dh_(static_cast<std::size_t>(batch * kHidden)) {}

  // One step of gradient descent on the images order[0 .. batch). Returns the sum of their losses,
  // computed before the step.
  double train(const Dataset& set, const index_t* order, index_t batch, double rate) {
    forward(set, order, batch);
    const Output h = ts::row_major(h_, {batch, kHidden}), dh = ts::row_major(dh_, {batch, kHidden});
    const Output y = ts::row_major(y_, {batch, kClasses});
    double loss = 0;
    for (index_t i = 0; i < batch; ++i) {
      const std::uint8_t label = set.labels[static_cast<std::size_t>(order[i])];
      softmax(&y(i, 0));
      loss -= std::log(std::max(y(i, label), 1e-30f));  // only shown
      y(i, label) -= 1.0f;                              // now the gradient of the loss
    }
    second_.backward(product_, y, dh);
    for (index_t i = 0; i < batch * kHidden; ++i) dh.data[i] = h.data[i] > 0 ? dh.data[i] : 0.0f;
    second_.update(product_, h, y, rate);
    first_.update(product_, ts::row_major(x_, {batch, kPixels}), dh, rate);
    return loss;
  }

  // How many of the images order[0 .. batch) get the right label.
  index_t count_right(const Dataset& set, const index_t* order, index_t batch) {
    forward(set, order, batch);
    index_t right = 0;
    for (index_t i = 0; i < batch; ++i) {
      const float* scores = &y_[static_cast<std::size_t>(i * kClasses)];
      const auto best = std::max_element(scores, scores + kClasses) - scores;
      right += best == set.labels[static_cast<std::size_t>(order[i])];
    }
    return right;
  }

  const Products& products() const { return product_; }

  std::uint64_t weights_digest() const {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const Layer* layer : {&first_, &second_}) {
      hash = digest(digest(hash, layer->weights), layer->bias);
    }
    return hash;
  }

 private:
  // Pixels into x_, as numbers of mean 0 and variance 1; activations into h_, scores into y_.
  void forward(const Dataset& set, const index_t* order, index_t batch) {
    for (index_t i = 0; i < batch; ++i) {
      const std::uint8_t* image = &set.images[static_cast<std::size_t>(order[i] * kPixels)];
      float* x = &x_[static_cast<std::size_t>(i * kPixels)];
      for (index_t j = 0; j < kPixels; ++j) x[j] = static_cast<float>(image[j] - 73) * (1.0f / 90);
    }
    const Output h = ts::row_major(h_, {batch, kHidden});
    first_.forward(product_, ts::row_major(x_, {batch, kPixels}), h);
    for (index_t i = 0; i < batch * kHidden; ++i) h.data[i] = h.data[i] > 0 ? h.data[i] : 0.0f;
    second_.forward(product_, h, ts::row_major(y_, {batch, kClasses}));
  }

  static void softmax(float* y) {
    const float largest = *std::max_element(y, y + kClasses);
    float sum = 0;
    for (index_t j = 0; j < kClasses; ++j) sum += y[j] = exp_nonpositive(y[j] - largest);
    for (index_t j = 0; j < kClasses; ++j) y[j] /= sum;
  }

  Products product_;
  Layer first_{kPixels, kHidden, 1}, second_{kHidden, kClasses, 2};
  Floats x_, h_, y_, dh_;  // of one batch; y_ holds scores, then probabilities, then gradients
};

// ---- The program

// What the bar says of an epoch: the loss of the images it has seen.
std::string status(index_t epoch, index_t epochs, double loss, index_t images, double gflops) {
  char text[80];
  std::snprintf(text, sizeof text, "epoch %td/%td", epoch, epochs);
  if (images == 0) return text;
  std::snprintf(text, sizeof text, "epoch %td/%td, loss %.3f, %.1f GFLOP/s", epoch, epochs,
                loss / static_cast<double>(images), gflops);
  return text;
}

double test_accuracy(Network& network, const Dataset& test, index_t batch) {
  std::vector<index_t> order(static_cast<std::size_t>(test.count));
  std::iota(order.begin(), order.end(), index_t{0});
  index_t right = 0;
  for (index_t i = 0; i < test.count; i += batch) {
    right += network.count_right(test, &order[static_cast<std::size_t>(i)],
                                 std::min(batch, test.count - i));
  }
  return static_cast<double>(right) / static_cast<double>(test.count);
}

void run(const Options& options) {
  const ts::Target target = ts::active_target();  // refuses an unknown TESSERA_TARGET right here
  const Dataset train = read_dataset(options.directory, "train", options.limit);
  const Dataset test = read_dataset(options.directory, "t10k", options.limit);
  std::printf(
      "Fashion-MNIST: %td images to train on, %td to test, a 784-256-10 network,\n"
      "batches of %td, %td thread%s, target %s\n",
      train.count, test.count, options.batch, options.threads, options.threads == 1 ? "" : "s",
      std::string(ts::name(target)).c_str());
  std::fflush(stdout);

  Threads threads(options.threads);
  ts::Context context;
  if (options.threads > 1) {
    context.executor = ts::Executor::from_function(options.threads, threads);
  }
  Network network(context, options.batch);
  const index_t batches = (train.count + options.batch - 1) / options.batch;
  ts::bench::Progress progress(static_cast<std::size_t>(options.epochs * batches),
                               {.lines = false, .seconds_apart = 0.05});
  std::vector<index_t> order(static_cast<std::size_t>(train.count));
  std::iota(order.begin(), order.end(), index_t{0});

  double training_seconds = 0, accuracy = 0;
  for (index_t epoch = 0; epoch < options.epochs; ++epoch) {
    const double start = seconds_now();
    const double rate = kLearningRate * static_cast<double>(options.epochs - epoch) /
                        static_cast<double>(options.epochs);
    double loss = 0;
    shuffle(order, static_cast<std::uint64_t>(epoch) + 3);
    for (index_t i = 0; i < train.count;) {
      const index_t batch = std::min(options.batch, train.count - i);
      progress.start(status(epoch + 1, options.epochs, loss, i, network.products().gflops()));
      loss += network.train(train, &order[static_cast<std::size_t>(i)], batch, rate);
      i += batch;
    }
    const double seconds = seconds_now() - start;
    training_seconds += seconds;
    accuracy = test_accuracy(network, test, options.batch);
    progress.clear();
    std::printf("epoch %td/%td  loss %.3f  test accuracy %.4f  %.2f s\n", epoch + 1, options.epochs,
                loss / static_cast<double>(train.count), accuracy, seconds);
    std::fflush(stdout);
  }

  const double gflops = network.products().gflops();
  const double core_peak = ts::bench::fma_peak_gflops<float>(ts::bench::peak_probe(target));
  const double peak = core_peak * static_cast<double>(options.threads);
  const ts::GemmPlan plan = ts::plan_gemm<float>(options.batch, kHidden, kPixels, &context);
  std::printf(
      "\n"
      "test accuracy   %.4f\n"
      "training        %.2f s per epoch, %.2f s in all\n"
      "products        %.1f GFLOP/s\n"
      "FMA peak        %td x %.1f GFLOP/s, measured in registers: the products reach %.0f %%\n"
      "target          %s\n"
      "register tile   %td x %td: %d rows, %d vector%s of %td floats\n"
      "cache blocks    %td x %td of A, %td x %td of B, for the caches found by %s\n"
      "weights digest  %016llx\n",
      accuracy, training_seconds / static_cast<double>(options.epochs), training_seconds, gflops,
      options.threads, core_peak, 100 * gflops / peak, std::string(ts::name(plan.target)).c_str(),
      plan.mr, plan.nr, plan.tile.rows, plan.tile.vectors, plan.tile.vectors == 1 ? "" : "s",
      plan.nr / plan.tile.vectors, plan.mc, plan.kc, plan.kc, plan.nc, ts::machine_caches().source,
      static_cast<unsigned long long>(network.weights_digest()));
}

}  // namespace

int main(int, char** argv) {
  try {
    const Options options = parse_options(argv + 1);
    if (options.help) {
      std::fputs(kUsage, stdout);
    } else {
      run(options);
    }
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "fashion_mnist: %s\n\n%s", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fashion_mnist: %s\n", error.what());
    return 1;
  }
}
