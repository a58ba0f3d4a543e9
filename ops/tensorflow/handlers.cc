// Tells TensorFlow's own XLA of the handlers in ../xla/handlers.cc, when the library is loaded.

#include "xla/ffi/api/c_api.h"

#define CBK_HANDLERS(Prefix)                                               \
  extern "C" XLA_FFI_Error* Prefix##Loss(XLA_FFI_CallFrame*);              \
  extern "C" XLA_FFI_Error* Prefix##LossAndGradient(XLA_FFI_CallFrame*);   \
  extern "C" XLA_FFI_Error* Prefix##ScaleRows(XLA_FFI_CallFrame*)

CBK_HANDLERS(CbkXla);
#if CBK_CUDA
CBK_HANDLERS(CbkXlaCuda);
#endif

// TensorFlow's, whose header needs all of XLA's.
namespace xla {
namespace ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}
}  // namespace xla

namespace cb_keras {
namespace {

bool Register(const XLA_FFI_Api* api, const char* target, const char* platform,
              XLA_FFI_Handler* handler) {
  XLA_FFI_Handler_Register_Args arguments = {};
  arguments.struct_size = XLA_FFI_Handler_Register_Args_STRUCT_SIZE;
  arguments.name = {target, __builtin_strlen(target)};
  arguments.platform = {platform, __builtin_strlen(platform)};
  arguments.bundle.execute = handler;
  XLA_FFI_Error* error = api->XLA_FFI_Handler_Register(&arguments);
  if (error == nullptr) return true;
  XLA_FFI_Error_Destroy_Args destroy = {};
  destroy.struct_size = XLA_FFI_Error_Destroy_Args_STRUCT_SIZE;
  destroy.error = error;
  api->XLA_FFI_Error_Destroy(&destroy);
  return false;
}

#define REGISTER_FOR(platform, Prefix)                                                           \
  (Register(api, "cb_keras_loss", platform, Prefix##Loss) &&                                     \
   Register(api, "cb_keras_loss_and_gradient", platform, Prefix##LossAndGradient) &&             \
   Register(api, "cb_keras_scale_rows", platform, Prefix##ScaleRows))

// The devices whose XLA has the handlers: 1 for the CPU, 2 for CUDA, or their sum.
int RegisterAll() {
  const XLA_FFI_Api* api = xla::ffi::GetXlaFfiApi();
  // An older one knows nothing of what the handlers are.
  if (api->api_version.major_version != XLA_FFI_API_MAJOR ||
      api->api_version.minor_version < XLA_FFI_API_MINOR) {
    return 0;
  }
  int devices = REGISTER_FOR("Host", CbkXla) ? 1 : 0;
#if CBK_CUDA
  if (REGISTER_FOR("CUDA", CbkXlaCuda)) devices += 2;
#endif
  return devices;
}

const int kDevices = RegisterAll();

}  // namespace
}  // namespace cb_keras

extern "C" __attribute__((visibility("default"))) int CbkTensorflowXla() {
  return cb_keras::kDevices;
}
