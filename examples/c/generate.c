// Greedy continuation through libactc_rt: ids in, ids out. There is no tokenizer in the library; bring your own.
//
//     actc compile tests/models/whale-2m -o whale.actc && cargo build --release -p actc-capi
//     cc examples/c/generate.c -I runtime/include -L target/release -lactc_rt -o generate
//     LD_LIBRARY_PATH=target/release ./generate whale.actc 8 52 258 1142 268 260 1220
//
// Machine code of the artifact is run: only for files whose maker you trust.
#include "actc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what, actc_error *error) {
    fprintf(stderr, "%s: error[%s]: %s\n", what, actc_error_code(error), actc_error_headline(error));
    if (*actc_error_help(error)) {
        fprintf(stderr, "  help: %s\n", actc_error_help(error));
    }
    actc_error_free(error);
    return 1;
}

// The name of the first input, or the first output, of the entry called `entry`; NULL where there is none.
static const char *port(const actc_model *model, size_t entries, const char *entry, int output) {
    for (size_t i = 0; i < entries; i++) {
        actc_entry_info info = {.struct_size = sizeof info};
        actc_port_info first = {.struct_size = sizeof first};
        if (actc_model_entry(model, i, &info, NULL) == ACTC_OK && strcmp(info.name, entry) == 0) {
            actc_status status = output ? actc_model_output(model, i, 0, &first, NULL)
                                        : actc_model_input(model, i, 0, &first, NULL);
            return status == ACTC_OK ? first.name : NULL;
        }
    }
    return NULL;
}

// Runs `entry` on `count` ids behind `past` others, and puts the id of the greatest logit into `next`.
static int step(actc_session *session, const char *entry, const char *input, const char *output, const int64_t *ids,
                size_t count, size_t past, int64_t *next) {
    actc_error *error = NULL;
    uint64_t dims[1] = {count};
    actc_tensor tokens = {.struct_size = sizeof tokens, .name = input, .dtype = ACTC_I64, .rank = 1};
    tokens.dims = dims;
    tokens.data = ids;
    tokens.bytes = count * sizeof *ids;
    if (actc_session_set_dim(session, "P", past, &error) || actc_session_run(session, entry, &tokens, 1, &error)) {
        return failed(entry, error);
    }
    actc_tensor logits = {.struct_size = sizeof logits};
    if (actc_session_output(session, output, &logits, &error)) {
        return failed(output, error);
    }
    const float *row = logits.data;
    size_t n = logits.bytes / sizeof *row, best = 0;
    for (size_t i = 1; i < n; i++) {
        best = row[i] > row[best] ? i : best;
    }
    *next = (int64_t)best;
    return 0;
}

enum { MOST = 4096 };

int main(int argc, char **argv) {
    size_t wanted = 0, count = 0;
    static int64_t ids[MOST];
    if (argc >= 4 && sscanf(argv[2], "%zu", &wanted) == 1) {
        while (count + 3 < (size_t)argc && count < MOST && sscanf(argv[count + 3], "%" SCNd64, &ids[count]) == 1) {
            count++;
        }
    }
    if (argc < 4 || count + 3 != (size_t)argc || wanted > MOST) {
        fprintf(stderr, "usage: %s MODEL.actc N ID...\n", argv[0]);
        return 2;
    }
    if (actc_abi_version() != ACTC_ABI_VERSION) {
        fprintf(stderr, "the library has interface %u, the header %d\n", actc_abi_version(), ACTC_ABI_VERSION);
        return 2;
    }

    actc_error *error = NULL;
    actc_model *model = NULL;
    actc_model_options opening = {.struct_size = sizeof opening, .trust_code = 1};
    if (actc_model_open(argv[1], &opening, &model, &error)) {
        return failed(argv[1], error);
    }
    actc_model_info info = {.struct_size = sizeof info};
    if (actc_model_get_info(model, &info, &error)) {
        return failed(argv[1], error);
    }
    const char *input = port(model, info.entry_count, "decode", 0);
    const char *output = port(model, info.entry_count, "decode", 1);
    if (!input || !output) {
        fprintf(stderr, "%s is no language model\n", argv[1]);
        return 1;
    }

    // Caches for the whole text: P rows of past tokens, and none for new ones beyond these.
    actc_dim_value room[2] = {{"P", count + wanted}, {"S", 0}};
    actc_session_options options = {.struct_size = sizeof options, .dims = room, .dim_count = 2};
    actc_session *session = NULL;
    if (actc_session_new(model, &options, &session, &error)) {
        return failed("session", error);
    }
    int64_t next = 0;
    int status = step(session, "prefill", input, output, ids, count, 0, &next);
    for (size_t made = 0; status == 0 && made < wanted; made++) {
        int stops = 0;
        for (size_t i = 0; i < info.stop_count; i++) {
            stops |= info.stop[i] == (uint64_t)next;
        }
        if (stops) {
            break;
        }
        printf(made ? " %" PRId64 : "%" PRId64, next);
        if (made + 1 < wanted) {
            int64_t id = next;
            status = step(session, "decode", input, output, &id, 1, count + made, &next);
        }
    }
    printf("\n");
    actc_session_free(session);
    actc_model_free(model);
    return status;
}
