/*
 * What a backend is: a table of C functions with a version. The addon knows a backend only through this
 * header, so one that is linked in (cpu) and one that is loaded at run time look the same to it.
 *
 * Rules. Every function returns a status and, on failure, fills the error (which may be null). No C++
 * exception leaves a function. Pointers passed in are borrowed for the duration of the call. A context and
 * what was made from it are used by one thread at a time; the backend brings its own threads. Functions
 * validate all that they read: sizes, indices, weights; they never trust a caller with memory safety,
 * except that `length` elements really lie behind each `data` pointer.
 */
#ifndef QKSPACE_ABI_H
#define QKSPACE_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QKS_ABI_VERSION 4u

enum qks_status {
  QKS_OK = 0,
  QKS_E_ARGUMENT = 1,
  QKS_E_SHAPE = 2,
  QKS_E_RANGE = 3,
  QKS_E_EMPTY_SET = 4,
  QKS_E_NON_FINITE = 5,
  QKS_E_ABORTED = 6,
  QKS_E_OUT_OF_MEMORY = 7,
  QKS_E_BACKEND = 8,
  QKS_E_INTERNAL = 9
};

enum qks_dtype { QKS_F32 = 0, QKS_F16 = 1, QKS_BF16 = 2, QKS_F64 = 3 };
enum qks_estimator { QKS_PER_QUERY = 0, QKS_PER_PAIR = 1, QKS_SUM = 2 };
/* The key scope of a label-matched query: earlier positions, all but its own, all. */
enum qks_reach { QKS_BEFORE = 0, QKS_OTHERS = 1, QKS_ALL = 2 };

typedef struct qks_error {
  int32_t status;
  char message[508];
} qks_error;

/* Polled between tiles and between matrices; `poll` may be null. Non-zero means: stop. */
typedef struct qks_cancel {
  const void *user;
  int32_t (*poll)(const void *user);
  /* May be null. Otherwise the batch is one part of several, which other contexts add: covariance_add calls this once,
     when its sums are ready and only have to join. Waits for the other parts. Non-zero: one of them failed, and this
     one must not join either. */
  int32_t (*agree)(const void *user);
} qks_cancel;

typedef struct qks_options {
  /* Threads to compute with, 0 = one per processor. */
  int32_t threads;
  /* Name of an instruction set, or null or empty for the best that the processor has. */
  const char *instruction_set;
  /* Of a backend with devices: index or UUID of the one to use, null or empty for the first. */
  const char *device;
  /* Bytes of the device's memory to use at most, 0 = most of what is free. */
  uint64_t device_memory;
} qks_options;

typedef struct qks_description {
  const char *name;
  const char *version;
  const char *instruction_set;
  /* Comma-separated, what this processor could run. */
  const char *instruction_sets;
  int32_t threads;
  /* Of a backend with devices; null elsewhere. Versions as in "13.0". */
  const char *device, *device_uuid, *driver_version, *runtime_version;
  /* Bytes: of the device, free now, and what this context takes at most. */
  uint64_t memory_total, memory_free, memory_limit;
} qks_description;

/* What a device did, by its own clock; zeros for a backend that computes in the caller's memory. */
typedef struct qks_timings {
  double arithmetic_ms; /* kernels of covariance_add and svd, and what they wait for between */
  double copy_ms;       /* copies to the device, each from its start to its end */
  uint64_t copy_bytes;
} qks_timings;

typedef struct qks_spec {
  int32_t heads, kv_heads, head_dim, contrasts;
  int32_t estimator;
  int32_t allow_non_finite;
  int32_t threads;
} qks_spec;

typedef struct qks_rows qks_rows;

/* [batch, pos, heads, d]; `length` elements behind `data`; strides in elements, >= 0. With `rows`, what
   `rows_upload` made of a tensor of this shape and dtype is read instead, and `data` is null. */
typedef struct qks_tensor {
  const qks_rows *rows;
  const void *data;
  int64_t length;
  int32_t dtype;
  int64_t shape[4];
  int64_t strides[4];
} qks_tensor;

/* Explicit terms. Offsets have count + 1 entries; weights may be null (all 1). */
typedef struct qks_terms {
  int64_t count;
  const int32_t *contrast, *query, *query_neg;
  const int32_t *pos_offsets, *pos, *neg_offsets, *neg;
  int64_t pos_count, neg_count;
  const float *weights, *pos_weights, *neg_weights;
} qks_terms;

/* One label-matched sequence; positions ascend strictly, label < 0 is none. */
typedef struct qks_labels {
  int32_t contrast, key_scope;
  int64_t query_count, key_count;
  const int32_t *query_rows, *query_positions, *query_labels;
  const int32_t *key_rows, *key_positions, *key_labels;
} qks_labels;

typedef struct qks_batch {
  qks_tensor q, k;
  qks_terms terms;
  int64_t label_count;
  const qks_labels *labels;
} qks_batch;

/* weight [contrasts], q and k [contrasts, heads, d], qk [contrasts, heads, d, d]. */
typedef struct qks_side {
  double *weight, *q, *k, *qk;
} qks_side;

typedef struct qks_moments {
  double *terms, *skipped; /* [contrasts] */
  qks_side side[2];        /* positive, negative */
} qks_moments;

enum qks_svd_mode { QKS_SVD_FULL = 0, QKS_SVD_ENERGY = 1, QKS_SVD_RANK = 2 };

typedef struct qks_svd_request {
  const void *matrices; /* [n, rows, cols], row-major */
  int64_t length;
  int32_t dtype; /* QKS_F32 or QKS_F64 */
  int64_t n, rows, cols;
  int32_t mode;
  double energy;
  int32_t rank;     /* QKS_SVD_RANK */
  int32_t max_rank; /* QKS_SVD_ENERGY; 0 = no limit */
  uint64_t seed;
  int32_t threads;
  int32_t out_dtype; /* of u, s and v: QKS_F32 or QKS_F64 */
} qks_svd_request;

/* Vectors of all matrices, of `out_dtype`: u [n, rows, width], s [n, width], v [n, cols, width]. */
typedef struct qks_svd_vectors {
  void *u, *s, *v;
} qks_svd_vectors;

/* Per-matrix figures, [n], written by `svd`. */
typedef struct qks_svd_summary {
  int32_t *ranks;
  double *total_energy, *error_bound;
  uint8_t *converged;
  int32_t max_rank;
} qks_svd_summary;

/* Matrices that differ only in the signs of their units (FlipsRequest of lib/backend/backend.ts). */
typedef struct qks_flips_request {
  qks_tensor q, k; /* resident, `rows` rows each */
  int64_t rows, units, draws, head_count;
  const int32_t *heads;      /* [head_count] query heads */
  const float *coefficients; /* [rows] */
  const int32_t *unit;       /* [rows], ascending from 0 to units - 1, each with a row */
  const uint32_t *flips;     /* [units, ceil(draws / 32)] */
  const double *u, *v;       /* [head_count, d, rank]; not read where rank is 0 */
  int32_t rank, components;
  int32_t threads;
} qks_flips_request;

typedef struct qks_context qks_context;
typedef struct qks_covariance qks_covariance;
typedef struct qks_decomposition qks_decomposition;

/* Calls of one context come from one thread at a time, but for `describe` and `covariance_create`. The destroy functions
   are not called on JavaScript's thread while a call may be running: freeing device memory may wait until the device is
   idle. */
typedef struct qks_backend {
  uint32_t abi_version;
  uint32_t struct_size;
  int32_t (*open)(const qks_options *, qks_context **, qks_error *);
  /* Joins the backend's threads. Everything made from the context has been destroyed before. */
  void (*close)(qks_context *);
  int32_t (*describe)(qks_context *, qks_description *, qks_error *);
  /* Since the context was opened, or since this was last called. */
  int32_t (*timings)(qks_context *, qks_timings *, qks_error *);

  /* May be called while another thread runs a call of the context, so it waits for nothing and shares no state with that
     call: device memory is taken by the first call that needs it. */
  int32_t (*covariance_create)(qks_context *, const qks_spec *, qks_covariance **, qks_error *);
  void (*covariance_destroy)(qks_covariance *);
  /* Adds the batch wholly or, on any failure, not at all. */
  int32_t (*covariance_add)(qks_covariance *, const qks_batch *, const qks_cancel *, qks_error *);
  int32_t (*covariance_merge)(qks_covariance *, const qks_moments *, qks_error *);
  /* The arrays have room for `head_count` heads, in the order given. */
  int32_t (*covariance_read)(qks_covariance *, const int32_t *heads, int32_t head_count, const qks_moments *,
                             qks_error *);

  /* Keeps a tensor where the backend computes, until it is destroyed; any number of batches may read it. */
  int32_t (*rows_upload)(qks_context *, const qks_tensor *, const qks_cancel *, qks_rows **, qks_error *);
  void (*rows_destroy)(qks_rows *);

  /* In full and to a rank, the width is known (min(rows, cols), or the rank if that is less): the vectors are written
     to where the fifth argument says. By energy that is null, and the vectors wait in a qks_decomposition for
     `svd_read`; the width is `max_rank`, and narrower results are zero-padded. */
  int32_t (*svd)(qks_context *, const qks_svd_request *, const qks_cancel *, qks_svd_summary *, const qks_svd_vectors *,
                 qks_decomposition **, qks_error *);
  int32_t (*svd_read)(qks_context *, const qks_decomposition *, const qks_svd_vectors *, qks_error *);
  void (*svd_destroy)(qks_decomposition *);

  /* Largest singular values [head_count, draws, components]. */
  int32_t (*largest_of_flips)(qks_context *, const qks_flips_request *, const qks_cancel *, double *out, qks_error *);
} qks_backend;

/* The one symbol of a backend in a library of its own. */
typedef const qks_backend *(*qks_backend_entry)(void);

#ifdef __cplusplus
}
#endif

#endif
