// What tch lacks of torch's autograd: operations whose backward is Rust, and a call when a gradient is complete.
//
// Every function returns 0, or -1 with a message in `syncyte_shim_error`. Tensors are passed as tch passes them: a
// pointer to an `at::Tensor` on the heap. The two classes of torch used here are internal, so the version is pinned.

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/version.h>

#include <memory>
#include <string>
#include <vector>

static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 11, "written for torch 2.11; check the classes used");

namespace {

thread_local std::string last_error;

template <typename F>
int guarded(F&& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "unknown C++ exception";
  }
  return -1;
}

// Takes ownership of `gradient`; fills `slots` with new tensors, or null where no gradient is needed.
using Backward = int (*)(void* user, at::Tensor* gradient, const bool* needed, at::Tensor** slots, size_t inputs);
using Release = void (*)(void* user);
using Ready = void (*)(void* user, size_t index);

struct RustNode final : torch::autograd::Node {
  RustNode(Backward backward, Release release, void* user) : backward_(backward), release_(release), user_(user) {}

  ~RustNode() override { drop(); }

  std::string name() const override { return "SyncyteFunction"; }

  // Backward is done or will not come: what it needed can go.
  void release_variables() override { drop(); }

  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    TORCH_CHECK(user_ != nullptr, "backward through a Syncyte operation a second time");
    const size_t inputs = num_outputs();
    torch::autograd::variable_list results(inputs);
    if (!gradients.at(0).defined()) {
      return results;
    }
    std::unique_ptr<bool[]> needed(new bool[inputs]);
    for (size_t i = 0; i < inputs; ++i) {
      needed[i] = task_should_compute_output(i);
    }
    std::vector<at::Tensor*> slots(inputs, nullptr);
    const int status = backward_(user_, new at::Tensor(gradients[0]), needed.get(), slots.data(), inputs);
    for (size_t i = 0; i < inputs; ++i) {
      if (slots[i] != nullptr) {
        results[i] = std::move(*slots[i]);
        delete slots[i];
      }
    }
    TORCH_CHECK(status == 0, "the backward pass of a Syncyte operation failed");
    return results;
  }

 private:
  void drop() {
    if (user_ != nullptr) {
      release_(user_);
      user_ = nullptr;
    }
  }

  Backward backward_;
  Release release_;
  void* user_;
};

struct GradientHook final : torch::autograd::PostAccumulateGradHook {
  GradientHook(Ready ready, Release release, void* user, size_t index)
      : ready_(ready), release_(release), user_(user), index_(index) {}
  ~GradientHook() override { release_(user_); }
  void operator()(const at::Tensor&) override { ready_(user_, index_); }

  Ready ready_;
  Release release_;
  void* user_;
  size_t index_;
};

}  // namespace

extern "C" {

const char* syncyte_shim_error() { return last_error.c_str(); }

// Whether operations are recorded now, and one of the inputs needs a gradient.
int syncyte_needs_backward(const at::Tensor* const* inputs, size_t n) {
  if (!at::GradMode::is_enabled()) {
    return 0;
  }
  for (size_t i = 0; i < n; ++i) {
    if (inputs[i]->requires_grad()) {
      return 1;
    }
  }
  return 0;
}

// Makes `output`, computed from `inputs` without a record, the result of an operation whose backward is `backward`.
// `user` belongs to the operation from now on, also when this fails.
int syncyte_attach(at::Tensor* output, const at::Tensor* const* inputs, size_t n, Backward backward, Release release,
                   void* user) {
  std::shared_ptr<RustNode> node(new RustNode(backward, release, user), torch::autograd::deleteNode);
  return guarded([&] {
    torch::autograd::edge_list edges;
    for (size_t i = 0; i < n; ++i) {
      edges.push_back(torch::autograd::impl::gradient_edge(*inputs[i]));
    }
    node->set_next_edges(std::move(edges));
    torch::autograd::set_history(*output, node);
  });
}

// Calls `ready(user, index)` each time that the gradient of a leaf is complete in a backward pass.
int syncyte_on_gradient(const at::Tensor* leaf, size_t index, Ready ready, Release release, void* user) {
  auto hook = std::make_unique<GradientHook>(ready, release, user, index);
  return guarded([&] {
    TORCH_CHECK(leaf->is_leaf() && leaf->requires_grad(), "only a leaf that requires a gradient can report it");
    torch::autograd::impl::set_post_acc_grad_hooks(*leaf, std::move(hook));
  });
}

}  // extern "C"
