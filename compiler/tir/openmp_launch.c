/* Parallel loops of TVM's kernels on the threads of PyTorch's OpenMP.

   Two pools of threads in one process hurt each other: after each loop the threads of either spin on for a while, waiting for the
   next, on the cores that the other needs. The types are those of TVM's c_backend_api.h. */

#include <omp.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  void* sync_handle;
  int32_t num_task;
} Environment;

typedef int (*Loop)(int task, Environment* environment, void* data);

int foretune_parallel_launch(Loop loop, void* data, int num_task) {
  int threads = omp_in_parallel() ? 1 : (num_task > 0 ? num_task : omp_get_max_threads());
  int failed = 0;
  if (threads == 1) {
    Environment environment = {NULL, 1};
    return loop(0, &environment, data);
  }
#pragma omp parallel num_threads(threads) reduction(|| : failed)
  {
    Environment environment = {NULL, omp_get_num_threads()};
    failed = loop(omp_get_thread_num(), &environment, data) != 0;
  }
  return failed ? -1 : 0;
}

int foretune_parallel_barrier(int task, Environment* environment) {
  (void)task;
  if (environment->num_task > 1) {
#pragma omp barrier
  }
  return 0;
}

/* Whether all indices are from 0 to below a size: one comparison each, because negative ones are large without their sign. */

int foretune_in_range_64(const int64_t* indices, int64_t count, int64_t size) {
  int outside = 0;
  for (int64_t i = 0; i < count; i++) outside |= (uint64_t)indices[i] >= (uint64_t)size;
  return !outside;
}

int foretune_in_range_32(const int32_t* indices, int64_t count, int64_t size) {
  int outside = 0;
  for (int64_t i = 0; i < count; i++) outside |= indices[i] < 0 || indices[i] >= size;
  return !outside;
}
