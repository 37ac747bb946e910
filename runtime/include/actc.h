// libactc_rt: the thin runtime of actc. Opens artifacts (.actc) and runs their entries on tensors.
//
//     actc_model *model; actc_session *session; actc_error *error;
//     actc_model_options open = {.struct_size = sizeof open, .trust_code = 1};
//     if (actc_model_open("model.actc", &open, &model, &error)) ...
//
// Every call gives an actc_status, 0 for success; where `error` is not NULL it is set to NULL or to an object that
// actc_error_free frees. Set struct_size of every struct before it is given to a call, also of one that is to be
// filled, and everything else that you do not use to zero. Models may be used by any number of threads; a session by
// one at a time. Callbacks must not unwind (C++ exceptions) through the library. examples/c/generate.c is a whole use.
//
// This file is made by cbindgen from runtime/capi: change it there.


#ifndef ACTC_H
#define ACTC_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// The version of this interface. It changes when a call or a struct changes in a way that `struct_size` does not cover.
#define ACTC_ABI_VERSION 1

// The value of an extent or a symbol that is not fixed.
#define ACTC_ANY UINT64_MAX

// How a call ended.
enum actc_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // As asked.
    ACTC_OK = 0,
    // It could not be done as asked.
    ACTC_FAILED = 1,
    // The request itself is wrong.
    ACTC_REQUEST = 2,
    // A mistake in the library; nothing more may be done with the objects of the call but freeing them.
    ACTC_PANIC = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum actc_status actc_status;
#else
typedef int32_t actc_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Element types.
enum actc_dtype
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // One byte, 0 or 1.
    ACTC_BOOL = 1,
    // Unsigned, 8 bits.
    ACTC_U8 = 2,
    // Signed, 8 bits.
    ACTC_I8 = 3,
    // Signed, 32 bits.
    ACTC_I32 = 4,
    // Signed, 64 bits.
    ACTC_I64 = 5,
    // IEEE half precision.
    ACTC_F16 = 6,
    // The upper half of an f32.
    ACTC_BF16 = 7,
    // IEEE single precision.
    ACTC_F32 = 8,
    // IEEE double precision.
    ACTC_F64 = 9,
    // Signed 16-bit integer.
    ACTC_I16 = 10,
    // Unsigned 16-bit integer.
    ACTC_U16 = 11,
    // Unsigned 32-bit integer.
    ACTC_U32 = 12,
    // Unsigned 64-bit integer.
    ACTC_U64 = 13,
    // 8-bit float, 4 bits of exponent and 3 of fraction, no infinity.
    ACTC_F8E4M3FN = 14,
    // The same with another bias, without a negative zero.
    ACTC_F8E4M3FNUZ = 15,
    // 8-bit float, 5 bits of exponent and 2 of fraction.
    ACTC_F8E5M2 = 16,
    // The same with another bias, without infinity and a negative zero.
    ACTC_F8E5M2FNUZ = 17,
    // 8-bit power of two.
    ACTC_F8E8M0 = 18,
    // 4-bit float, 2 bits of exponent and 1 of fraction, in the low bits of a byte, as all below.
    ACTC_F4E2M1 = 19,
    // 6-bit float, 2 bits of exponent and 3 of fraction.
    ACTC_F6E2M3 = 20,
    // 6-bit float, 3 bits of exponent and 2 of fraction.
    ACTC_F6E3M2 = 21,
    // Signed 4-bit integer; the upper bits of its byte are zero.
    ACTC_I4 = 22,
    // Unsigned 4-bit integer.
    ACTC_U4 = 23,
    // Signed 2-bit integer; the upper bits of its byte are zero.
    ACTC_I2 = 24,
    // Unsigned 2-bit integer.
    ACTC_U2 = 25,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum actc_dtype actc_dtype;
#else
typedef int32_t actc_dtype;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How much a message matters.
enum actc_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Something worth knowing.
    ACTC_LOG_INFO = 1,
    // Something that will get in the way.
    ACTC_LOG_WARNING = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum actc_log_level actc_log_level;
#else
typedef int32_t actc_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Why a call failed. Its texts live until actc_error_free.
typedef struct actc_error actc_error;

// An artifact, opened once. It never changes: any number of threads and sessions may use it at the same time, and all
// share one mapping of the file.
typedef struct actc_model actc_model;

// One caller's states and memory on a model. Used by one thread at a time: a call while another one is at work on the
// same session fails with "session-busy". Any number of sessions on a model run side by side, and none sees another.
typedef struct actc_session actc_session;

// What a model says about itself. All pointers live as long as the model.
typedef struct actc_model_info {
    // sizeof(actc_model_info)
    size_t struct_size;
    // Name that its source gave.
    const char *name;
    // Architecture family, such as "llama".
    const char *family;
    // Digest of the artifact.
    const char *digest;
    // The passes that made it.
    const char *pipeline;
    // Number of entries.
    size_t entry_count;
    // Number of states.
    size_t state_count;
    // 1 if its machine code is ready to run, or it needs none.
    uint32_t runnable;
    // For language models: 1 if the model expects `bos` before a text.
    uint32_t add_bos;
    // For language models: the id that begins a text, else ACTC_ANY.
    uint64_t bos;
    // For language models: tokens that it was made for, else 0.
    uint64_t context;
    // For language models: ids that end an answer.
    const uint64_t *stop;
    // Number of these.
    size_t stop_count;
} actc_model_info;

// Something that can be run. All pointers live as long as the model.
typedef struct actc_entry_info {
    // sizeof(actc_entry_info)
    size_t struct_size;
    // Its name, such as "decode".
    const char *name;
    // Number of inputs.
    size_t input_count;
    // Number of outputs.
    size_t output_count;
    // The symbols that its sizes depend on, such as "S" (new tokens) and "P" (past tokens).
    const char *const *symbols;
    // The value of each symbol that the entry was made for, or ACTC_ANY.
    const uint64_t *fixed;
    // Number of symbols.
    size_t symbol_count;
} actc_entry_info;

// An input, an output or a state. All pointers live as long as the model.
typedef struct actc_port_info {
    // sizeof(actc_port_info)
    size_t struct_size;
    // Its name.
    const char *name;
    // An actc_dtype.
    int32_t dtype;
    // Number of extents.
    uint32_t rank;
    // Each extent as a text over symbols, such as "P + S" or "576".
    const char *const *dims;
    // Each extent as a number, or ACTC_ANY where it depends on a symbol.
    const uint64_t *extents;
} actc_port_info;

// Takes a message, during the call that it is about and on the thread of that call. `level` is an actc_log_level. The
// text ends with its zero byte, is UTF-8 without control characters, and is gone after the return. It must not unwind and
// must not call into the object that the call is about.
typedef void (*actc_log_fn)(void *user, int32_t level, const char *message);

// How a model is opened. All zero, or NULL in its place: nothing is trusted, everything is checked.
typedef struct actc_model_options {
    // sizeof(actc_model_options)
    size_t struct_size;
    // 1: the machine code inside the artifact may be run in this process. It is native code and can do whatever the
    // process can: only for files whose maker you trust. 0: it is not looked at; a model that needs it can be looked
    // through, and actc_session_new fails with "code-untrusted".
    uint32_t trust_code;
    // 1: the digests of the sections are not checked, so that opening does not read the whole file.
    uint32_t skip_digests;
    // Takes messages, or NULL. It may be called by any thread that uses the model or a session of it.
    actc_log_fn log;
    // Given to `log`.
    void *log_user;
} actc_model_options;

// The value of a symbol. This struct never grows.
typedef struct actc_dim_value {
    // Name of the symbol, such as "P".
    const char *name;
    // Its value.
    uint64_t value;
} actc_dim_value;

// Gives `serve(argument)` a thread of its own, at once, and returns 0; anything else means that there is none, and then
// `serve` must not be called. It is called by actc_session_new for each thread but the calling one. The members of a
// session wait for each other in every step, so a pool fits only if it has that many threads free for as long as the
// session lives. `serve` returns when the session is freed, and must be called exactly once.
typedef int32_t (*actc_start_thread_fn)(void *user, void (*serve)(void *argument), void *argument);

// How a session is set up. All zero, or NULL in its place: as many threads as processors, no symbols, 64 GiB at most.
typedef struct actc_session_options {
    // sizeof(actc_session_options)
    size_t struct_size;
    // Values of symbols for which states are laid out: P = 2048 and S = 0 make room for 2048 tokens.
    const struct actc_dim_value *dims;
    // Number of these.
    size_t dim_count;
    // Most bytes of memory, 0 for 64 GiB. Exceeding it is an error before anything is taken.
    uint64_t memory_limit;
    // Number of threads, the calling one included; 0 for as many as there are processors. Results do not depend on it.
    size_t threads;
    // Brings the threads but the calling one, or NULL: the session starts its own.
    actc_start_thread_fn start_thread;
    // Given to `start_thread`.
    void *start_user;
} actc_session_options;

// A run that a session is going to see.
typedef struct actc_run_shape {
    // sizeof(actc_run_shape)
    size_t struct_size;
    // Name of the entry.
    const char *entry;
    // Values of all its symbols, those that shapes of inputs would say included.
    const struct actc_dim_value *dims;
    // Number of values.
    size_t dim_count;
} actc_run_shape;

// Bytes of memory of a session, by use. Stacks of threads, the small working memory that each thread grows for decoding
// weights, and the mapping of the model are not in it.
typedef struct actc_memory {
    // sizeof(actc_memory)
    size_t struct_size;
    // All of the following.
    uint64_t total;
    // States.
    uint64_t states;
    // Copies of inputs.
    uint64_t inputs;
    // Outputs.
    uint64_t outputs;
    // Everything between.
    uint64_t slots;
    // Memory that threads share within a step.
    uint64_t workspace;
} actc_memory;

// A tensor in memory: the caller's for an input, the session's for an output.
typedef struct actc_tensor {
    // sizeof(actc_tensor)
    size_t struct_size;
    // Name of the input or output.
    const char *name;
    // An actc_dtype.
    int32_t dtype;
    // Number of extents.
    uint32_t rank;
    // Extents, outermost first.
    const uint64_t *dims;
    // Little-endian elements, row-major. Inputs may lie at any address; outputs lie on a 64-byte line.
    const void *data;
    // Bytes of all elements.
    size_t bytes;
} actc_tensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the interface that the library has; compare with ACTC_ABI_VERSION of the header.
uint32_t actc_abi_version(void);

// Fills `info`.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_model_get_info(const struct actc_model *model,
                                struct actc_model_info *info,
                                struct actc_error **error);

// Describes entry `index`.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_model_entry(const struct actc_model *model,
                             size_t index,
                             struct actc_entry_info *info,
                             struct actc_error **error);

// Describes input `index` of entry `entry`.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_model_input(const struct actc_model *model,
                             size_t entry,
                             size_t index,
                             struct actc_port_info *info,
                             struct actc_error **error);

// Describes output `index` of entry `entry`.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_model_output(const struct actc_model *model,
                              size_t entry,
                              size_t index,
                              struct actc_port_info *info,
                              struct actc_error **error);

// Describes state `index`.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_model_state(const struct actc_model *model,
                             size_t index,
                             struct actc_port_info *info,
                             struct actc_error **error);

// Opens the artifact at `path`. `options` may be NULL. The model is put into `model`, which is set to NULL on failure.
//
// # Safety
//
// Pointers are NULL or valid; `path` ends with a zero byte.
actc_status actc_model_open(const char *path,
                            const struct actc_model_options *options,
                            struct actc_model **model,
                            struct actc_error **error);

// Lets go of a model. Its sessions go on; what the model's descriptions point to is gone. NULL is fine.
//
// # Safety
//
// `model` is NULL or came from actc_model_open and was not freed.
void actc_model_free(struct actc_model *model);

// Says how much memory a session with `options` takes that sees all of the `run_count` runs from `runs`. Takes none.
// `options` may be NULL, if no state depends on a symbol.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_model_memory(const struct actc_model *model,
                              const struct actc_session_options *options,
                              const struct actc_run_shape *runs,
                              size_t run_count,
                              struct actc_memory *memory,
                              struct actc_error **error);

// Makes a session with all states zero. `options` may be NULL, if no state depends on a symbol. The session is put into
// `session`, which is set to NULL on failure.
//
// # Safety
//
// Pointers are NULL or valid. `start_thread` keeps what it promises.
actc_status actc_session_new(const struct actc_model *model,
                             const struct actc_session_options *options,
                             struct actc_session **session,
                             struct actc_error **error);

// Ends a session and waits for its threads. NULL is fine.
//
// # Safety
//
// `session` is NULL or came from actc_session_new, was not freed, and no call is at work on it.
void actc_session_free(struct actc_session *session);

// Sets the value of a symbol for the runs to come; ACTC_ANY forgets it. Symbols that stand alone as an extent of an input
// need no value: the shape says it.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_session_set_dim(struct actc_session *session,
                                 const char *name,
                                 uint64_t value,
                                 struct actc_error **error);

// Runs an entry on `input_count` inputs, by name and in any order. All are copied before the run. After an error states
// may hold part of a step.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_session_run(struct actc_session *session,
                             const char *entry,
                             const struct actc_tensor *inputs,
                             size_t input_count,
                             struct actc_error **error);

// Fills `tensor` with output `name` of the last run. What it points to lives until the next call that runs, resets,
// loads or frees the session.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_session_output(struct actc_session *session,
                                const char *name,
                                struct actc_tensor *tensor,
                                struct actc_error **error);

// Makes all states zero.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_session_reset(struct actc_session *session, struct actc_error **error);

// Puts the states into `buffer` as bytes that actc_session_load takes. `dims` say how many rows are in use, such as P = the
// tokens so far and S = 0; with no values, all rows are saved. `needed` is always set, if not NULL; a NULL `buffer` only
// asks for it, and a `capacity` below it is an error.
//
// # Safety
//
// Pointers are NULL or valid; `buffer` has room for `capacity` bytes.
actc_status actc_session_save(struct actc_session *session,
                              const struct actc_dim_value *dims,
                              size_t dim_count,
                              void *buffer,
                              size_t capacity,
                              size_t *needed,
                              struct actc_error **error);

// Sets all states to what actc_session_save gave, in a session of the same artifact with as much room; rows behind those
// saved become zero. The bytes may come from anywhere: what does not fit is an error, and then nothing has changed.
//
// # Safety
//
// Pointers are NULL or valid; `bytes` has `length` bytes.
actc_status actc_session_load(struct actc_session *session,
                              const void *bytes,
                              size_t length,
                              struct actc_error **error);

// Says how much memory the session holds now.
//
// # Safety
//
// Pointers are NULL or valid.
actc_status actc_session_memory(struct actc_session *session,
                                struct actc_memory *memory,
                                struct actc_error **error);

// The stable name of what went wrong, such as "code-untrusted". Empty for NULL.
const char *actc_error_code(const struct actc_error *error);

// What went wrong, with both values. Names from files are escaped.
const char *actc_error_headline(const struct actc_error *error);

// The file, step or tensor where it was found; may be empty.
const char *actc_error_place(const struct actc_error *error);

// What to do about it; may be empty.
const char *actc_error_help(const struct actc_error *error);

// Frees an error object. NULL is fine.
//
// # Safety
//
// `error` is NULL or came from a call of this library and was not freed.
void actc_error_free(struct actc_error *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ACTC_H */
