/* Calls a compiled function without branches: its kernels, one after the other, on memory that was laid out before.

   The types are those of TVM's c_api.h. */

#include <stddef.h>
#include <stdint.h>

typedef struct {
  int32_t type_index;
  uint32_t padding;
  void* value;
} Argument;

typedef int (*Kernel)(void* self, const Argument* arguments, int32_t num_arguments, Argument* result);

typedef struct {
  Kernel kernel;
  const Argument* arguments;
  int64_t num_arguments;
} Call;

typedef struct {
  void** pointer;  /* of a tensor to its data */
  int64_t address; /* which of the addresses belongs there */
} Place;

/* 0, or the number of the call that failed, from 1. */
int foretune_call_all(const Call* calls, int64_t num_calls, const Place* places, int64_t num_places, void* const* addresses) {
  for (int64_t i = 0; i < num_places; i++) *places[i].pointer = addresses[places[i].address];
  for (int64_t i = 0; i < num_calls; i++) {
    Argument result = {0, 0, NULL};
    if (calls[i].kernel(NULL, calls[i].arguments, (int32_t)calls[i].num_arguments, &result) != 0) return (int)(i + 1);
  }
  return 0;
}
