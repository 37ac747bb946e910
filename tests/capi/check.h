// What the C tests share: a check that says where it failed, and greedy continuation with any session.
#ifndef CHECK_H
#define CHECK_H

#include "actc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks_failed = 0;

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            checks_failed++;                                                     \
        }                                                                        \
    } while (0)

// Takes an error and checks how the call ended and what its code is.
#define FAILS(call, expected_status, expected_code)                              \
    do {                                                                         \
        actc_error *error = NULL;                                                \
        actc_status status_ = (call);                                            \
        if (status_ != (expected_status) || strcmp(actc_error_code(error), (expected_code)) != 0) { \
            fprintf(stderr, "%s:%d: %s gave %d, `%s`: %s\n", __FILE__, __LINE__, #call, (int)status_, \
                    actc_error_code(error), actc_error_headline(error));         \
            checks_failed++;                                                     \
        }                                                                        \
        actc_error_free(error);                                                  \
    } while (0)

#define SUCCEEDS(call) FAILS(call, ACTC_OK, "")

// Ids of "The state of the Union is".
static const int64_t PROMPT[] = {52, 258, 1142, 268, 260, 1220, 326};
enum { PROMPT_LENGTH = 7, MADE = 12 };

static inline actc_tensor ids_tensor(const int64_t *ids, const uint64_t *count) {
    actc_tensor tensor = {.struct_size = sizeof tensor, .name = "tokens", .dtype = ACTC_I64, .rank = 1};
    tensor.dims = count;
    tensor.data = ids;
    tensor.bytes = (size_t)*count * sizeof *ids;
    return tensor;
}

// Reads `count` ids behind `past`; gives the id of the greatest logit, or -1.
static inline int64_t advance(actc_session *session, const int64_t *ids, uint64_t count, uint64_t past) {
    actc_error *error = NULL;
    actc_tensor tokens = ids_tensor(ids, &count), logits = {.struct_size = sizeof logits};
    if (actc_session_set_dim(session, "P", past, &error) ||
        actc_session_run(session, count == 1 ? "decode" : "prefill", &tokens, 1, &error) ||
        actc_session_output(session, "logits", &logits, &error)) {
        fprintf(stderr, "%s: %s\n", actc_error_code(error), actc_error_headline(error));
        actc_error_free(error);
        return -1;
    }
    const float *row = logits.data;
    size_t best = 0;
    for (size_t i = 1; i < logits.bytes / sizeof *row; i++) {
        best = row[i] > row[best] ? i : best;
    }
    return (int64_t)best;
}

// Continues `prompt` by MADE ids.
static inline void greedy(actc_session *session, const int64_t *prompt, size_t length, int64_t *out) {
    out[0] = advance(session, prompt, length, 0);
    for (size_t i = 1; i < MADE; i++) {
        out[i] = advance(session, &out[i - 1], 1, length + i - 1);
    }
}

static inline actc_session *make_session(const actc_model *model, uint64_t rows, size_t threads) {
    actc_dim_value room[2] = {{"P", rows}, {"S", 0}};
    actc_session_options options = {.struct_size = sizeof options, .dims = room, .dim_count = 2, .threads = threads};
    actc_session *session = NULL;
    SUCCEEDS(actc_session_new(model, &options, &session, &error));
    return session;
}

static inline actc_model *open_model(const char *path) {
    actc_model_options opening = {.struct_size = sizeof opening, .trust_code = 1};
    actc_model *model = NULL;
    SUCCEEDS(actc_model_open(path, &opening, &model, &error));
    return model;
}

#endif
