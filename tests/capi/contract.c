// Every call with what it must refuse: NULL, sizes, names, shapes, code that nobody vouched for. MODEL.actc JUNK
#include "check.h"

static void models(const char *path, const char *junk) {
    actc_model *model = (actc_model *)1;
    actc_model_options options = {.struct_size = sizeof options};
    FAILS(actc_model_open(NULL, NULL, &model, &error), ACTC_REQUEST, "null-argument");
    CHECK(model == NULL);
    FAILS(actc_model_open(path, NULL, NULL, &error), ACTC_REQUEST, "null-argument");
    FAILS(actc_model_open("no/such/file", NULL, &model, &error), ACTC_FAILED, "artifact-io");
    FAILS(actc_model_open(junk, NULL, &model, &error), ACTC_FAILED, "artifact-magic");
    CHECK(actc_model_open(junk, NULL, &model, NULL) == ACTC_FAILED && model == NULL);
    options.struct_size = 0;
    FAILS(actc_model_open(path, &options, &model, &error), ACTC_REQUEST, "struct-size");
    options.struct_size = sizeof options;
    options.trust_code = 2;
    FAILS(actc_model_open(path, &options, &model, &error), ACTC_REQUEST, "flag");

    // A newer caller asks for something that is not known here, then for nothing.
    struct {
        actc_model_options known;
        uint64_t more;
    } newer = {.known = {.struct_size = sizeof newer}, .more = 1};
    FAILS(actc_model_open(path, &newer.known, &model, &error), ACTC_REQUEST, "struct-size");
    newer.more = 0;
    SUCCEEDS(actc_model_open(path, &newer.known, &model, &error));
    actc_model_free(model);
}

// Without trust a model can be looked through and its memory asked for, not run.
static void untrusted(const char *path) {
    actc_model *model = NULL;
    SUCCEEDS(actc_model_open(path, NULL, &model, &error));
    actc_model_info info = {.struct_size = sizeof info};
    SUCCEEDS(actc_model_get_info(model, &info, &error));
    CHECK(info.runnable == 0 && info.entry_count == 3 && info.state_count == 12 && info.context == 256);
    CHECK(strcmp(info.family, "llama") == 0 && strlen(info.digest) == 64 && info.bos == 0);
    CHECK(info.stop_count == 1 && info.stop[0] == 0 && strstr(info.pipeline, "clean") != NULL);
    actc_dim_value room[2] = {{"P", 64}, {"S", 0}};
    actc_session_options options = {.struct_size = sizeof options, .dims = room, .dim_count = 2};
    actc_session *session = (actc_session *)1;
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_FAILED, "code-untrusted");
    CHECK(session == NULL);
    actc_memory memory = {.struct_size = sizeof memory};
    SUCCEEDS(actc_model_memory(model, &options, NULL, 0, &memory, &error));
    // Six layers, keys and values, 64 rows of two heads of 32 f32 each, and 64 bytes behind each state.
    CHECK(memory.states == 12 * (64 * 2 * 32 * 4 + 64) && memory.total == memory.states);
    FAILS(actc_model_memory(model, NULL, NULL, 0, &memory, &error), ACTC_FAILED, "dim-unbound");
    actc_model_free(model);
}

static void descriptions(const actc_model *model) {
    actc_entry_info entry = {.struct_size = sizeof entry};
    actc_port_info port = {.struct_size = sizeof port};
    size_t decode = 99;
    for (size_t i = 0; i < 3; i++) {
        SUCCEEDS(actc_model_entry(model, i, &entry, &error));
        CHECK(entry.input_count == 1 && entry.output_count == 1 && entry.symbol_count == 2);
        decode = strcmp(entry.name, "decode") == 0 ? i : decode;
    }
    CHECK(decode < 3);
    SUCCEEDS(actc_model_entry(model, decode, &entry, &error));
    for (size_t i = 0; i < entry.symbol_count; i++) {
        CHECK(entry.fixed[i] == (strcmp(entry.symbols[i], "S") == 0 ? 1 : ACTC_ANY));
    }
    SUCCEEDS(actc_model_input(model, decode, 0, &port, &error));
    CHECK(strcmp(port.name, "tokens") == 0 && port.dtype == ACTC_I64 && port.rank == 1);
    SUCCEEDS(actc_model_output(model, decode, 0, &port, &error));
    CHECK(strcmp(port.name, "logits") == 0 && port.dtype == ACTC_F32);
    CHECK(port.extents[port.rank - 1] == 2048 && strcmp(port.dims[port.rank - 1], "2048") == 0);
    SUCCEEDS(actc_model_state(model, 0, &port, &error));
    CHECK(port.dtype == ACTC_F32 && port.rank == 3 && port.extents[0] == ACTC_ANY && port.extents[2] == 32);
    CHECK(strcmp(port.dims[0], "P + S") == 0);
    FAILS(actc_model_entry(model, 3, &entry, &error), ACTC_REQUEST, "index");
    FAILS(actc_model_input(model, SIZE_MAX, 0, &port, &error), ACTC_REQUEST, "index");
    FAILS(actc_model_output(model, decode, 1, &port, &error), ACTC_REQUEST, "index");
    FAILS(actc_model_state(model, 12, &port, &error), ACTC_REQUEST, "index");
    FAILS(actc_model_state(NULL, 0, &port, &error), ACTC_REQUEST, "null-argument");
    FAILS(actc_model_state(model, 0, NULL, &error), ACTC_REQUEST, "null-argument");
    port.struct_size = 8;
    FAILS(actc_model_state(model, 0, &port, &error), ACTC_REQUEST, "struct-size");
}

static void opening_sessions(const actc_model *model) {
    actc_session *session = NULL;
    actc_dim_value room[3] = {{"P", 64}, {"S", 0}, {"P", 65}};
    actc_session_options options = {.struct_size = sizeof options, .dims = room, .dim_count = 3};
    FAILS(actc_session_new(NULL, &options, &session, &error), ACTC_REQUEST, "null-argument");
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_REQUEST, "dim-twice");
    FAILS(actc_session_new(model, NULL, &session, &error), ACTC_FAILED, "dim-unbound");
    options.dims = NULL;
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_REQUEST, "null-argument");
    options.dims = room;
    options.dim_count = 2;
    room[1].name = "no symbol";
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_REQUEST, "dim-name");
    room[1].name = "\xff";
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_REQUEST, "text-utf8");
    room[1].name = "S";
    options.threads = 1000000;
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_REQUEST, "thread-count");
    options.threads = 1;
    options.memory_limit = 1000;
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_REQUEST, "memory-limit");
    room[0].value = UINT64_C(1) << 62;
    FAILS(actc_session_new(model, &options, &session, &error), ACTC_FAILED, "dim-overflow");
    CHECK(session == NULL);
}

static void runs(const actc_model *model) {
    actc_session *session = make_session(model, 16, 2);
    uint64_t count = PROMPT_LENGTH;
    actc_tensor tokens = ids_tensor(PROMPT, &count), logits = {.struct_size = sizeof logits};
    FAILS(actc_session_output(session, "logits", &logits, &error), ACTC_REQUEST, "run-output");
    FAILS(actc_session_run(session, "prefill", &tokens, 1, &error), ACTC_REQUEST, "run-input");
    SUCCEEDS(actc_session_set_dim(session, "P", 0, &error));
    FAILS(actc_session_run(session, "refill", &tokens, 1, &error), ACTC_REQUEST, "unknown-entry");
    FAILS(actc_session_run(session, "prefill", &tokens, 0, &error), ACTC_REQUEST, "missing-input");
    FAILS(actc_session_run(session, "prefill", NULL, 1, &error), ACTC_REQUEST, "null-argument");
    FAILS(actc_session_run(session, NULL, &tokens, 1, &error), ACTC_REQUEST, "null-argument");
    FAILS(actc_session_run(NULL, "prefill", &tokens, 1, &error), ACTC_REQUEST, "null-argument");
    FAILS(actc_session_run(session, "prefill", &tokens, SIZE_MAX, &error), ACTC_REQUEST, "struct-size");
    actc_tensor two[2] = {tokens, tokens};
    FAILS(actc_session_run(session, "prefill", two, 2, &error), ACTC_REQUEST, "input-twice");
    two[1].name = "extra";
    FAILS(actc_session_run(session, "prefill", two, 2, &error), ACTC_REQUEST, "unknown-input");
    actc_tensor bad = tokens;
    bad.dtype = 77;
    FAILS(actc_session_run(session, "prefill", &bad, 1, &error), ACTC_REQUEST, "tensor-argument");
    bad.dtype = ACTC_I32;
    FAILS(actc_session_run(session, "prefill", &bad, 1, &error), ACTC_REQUEST, "tensor-argument");
    bad.bytes /= 2;
    FAILS(actc_session_run(session, "prefill", &bad, 1, &error), ACTC_REQUEST, "run-input");
    bad = tokens;
    bad.rank = 1000;
    FAILS(actc_session_run(session, "prefill", &bad, 1, &error), ACTC_REQUEST, "tensor-argument");
    bad = tokens;
    bad.data = NULL;
    FAILS(actc_session_run(session, "prefill", &bad, 1, &error), ACTC_REQUEST, "null-argument");
    uint64_t huge = UINT64_MAX;
    bad = tokens;
    bad.dims = &huge;
    FAILS(actc_session_run(session, "prefill", &bad, 1, &error), ACTC_REQUEST, "tensor-argument");
    int64_t strange[3] = {1, 2048, 2};
    uint64_t three = 3;
    bad = ids_tensor(strange, &three);
    FAILS(actc_session_run(session, "prefill", &bad, 1, &error), ACTC_REQUEST, "id-range");
    SUCCEEDS(actc_session_set_dim(session, "P", 10, &error));
    FAILS(actc_session_run(session, "prefill", &tokens, 1, &error), ACTC_REQUEST, "state-capacity");
    FAILS(actc_session_set_dim(session, "Q", 1, &error), ACTC_REQUEST, "unknown-dim");
    SUCCEEDS(actc_session_set_dim(session, "P", UINT64_MAX - 1, &error));
    FAILS(actc_session_run(session, "prefill", &tokens, 1, &error), ACTC_FAILED, "dim-overflow");
    SUCCEEDS(actc_session_set_dim(session, "P", ACTC_ANY, &error));
    FAILS(actc_session_run(session, "prefill", &tokens, 1, &error), ACTC_REQUEST, "run-input");
    SUCCEEDS(actc_session_set_dim(session, "P", 0, &error));
    // Inputs may lie anywhere.
    char shifted[sizeof PROMPT + 1];
    memcpy(shifted + 1, PROMPT, sizeof PROMPT);
    bad = tokens;
    bad.data = shifted + 1;
    SUCCEEDS(actc_session_run(session, "prefill", &bad, 1, &error));
    FAILS(actc_session_output(session, "logit", &logits, &error), ACTC_REQUEST, "unknown-output");
    SUCCEEDS(actc_session_output(session, "logits", &logits, &error));
    CHECK(logits.dtype == ACTC_F32 && logits.bytes == 2048 * 4 && (uintptr_t)logits.data % 64 == 0);
    CHECK(logits.dims[logits.rank - 1] == 2048 && strcmp(logits.name, "logits") == 0);
    actc_session_free(session);
}

static void memory_before(const actc_model *model) {
    actc_dim_value room[2] = {{"P", 32}, {"S", 0}};
    actc_dim_value long_run[2] = {{"P", 0}, {"S", PROMPT_LENGTH}}, short_run[2] = {{"P", 31}, {"S", 1}};
    actc_session_options options = {.struct_size = sizeof options, .dims = room, .dim_count = 2, .threads = 2};
    actc_run_shape shapes[2] = {
        {.struct_size = sizeof shapes[0], .entry = "prefill", .dims = long_run, .dim_count = 2},
        {.struct_size = sizeof shapes[0], .entry = "decode", .dims = short_run, .dim_count = 2},
    };
    actc_memory before = {.struct_size = sizeof before}, held = {.struct_size = sizeof held};
    SUCCEEDS(actc_model_memory(model, &options, shapes, 2, &before, &error));
    actc_session *session = make_session(model, 32, 2);
    int64_t next = advance(session, PROMPT, PROMPT_LENGTH, 0);
    advance(session, &next, 1, 31);
    SUCCEEDS(actc_session_memory(session, &held, &error));
    CHECK(memcmp(&before, &held, sizeof held) == 0 && held.total > 0);
    CHECK(held.total == held.states + held.inputs + held.outputs + held.slots + held.workspace);
    actc_session_free(session);
    // The limit is the same figure: what is foreseen is enough, less is refused.
    options.memory_limit = before.total;
    SUCCEEDS(actc_session_new(model, &options, &session, &error));
    CHECK(advance(session, PROMPT, PROMPT_LENGTH, 0) == next);
    actc_session_free(session);
    shapes[0].entry = "fill";
    FAILS(actc_model_memory(model, &options, shapes, 2, &before, &error), ACTC_REQUEST, "unknown-entry");
    shapes[0].entry = "prefill";
    shapes[0].dim_count = 1;
    FAILS(actc_model_memory(model, &options, shapes, 2, &before, &error), ACTC_REQUEST, "run-input");
}

static void saved(const actc_model *model) {
    actc_session *session = make_session(model, 32, 2), *other = make_session(model, 40, 1);
    int64_t expected[MADE], again[MADE];
    greedy(session, PROMPT, PROMPT_LENGTH, expected);
    actc_dim_value used[2] = {{"P", PROMPT_LENGTH}, {"S", 0}};
    size_t needed = 0, all = 0;
    SUCCEEDS(actc_session_save(session, used, 2, NULL, 0, &needed, &error));
    SUCCEEDS(actc_session_save(session, NULL, 0, NULL, 0, &all, &error));
    CHECK(needed > 12 * PROMPT_LENGTH * 256 && all > needed);
    char *bytes = malloc(needed);
    FAILS(actc_session_save(session, used, 2, bytes, needed - 1, NULL, &error), ACTC_REQUEST, "buffer-small");
    SUCCEEDS(actc_session_save(session, used, 2, bytes, needed, NULL, &error));
    SUCCEEDS(actc_session_load(other, bytes, needed, &error));
    again[0] = expected[0];
    for (size_t i = 1; i < MADE; i++) {
        again[i] = advance(other, &again[i - 1], 1, PROMPT_LENGTH + i - 1);
    }
    CHECK(memcmp(expected, again, sizeof again) == 0);
    SUCCEEDS(actc_session_reset(other, &error));
    SUCCEEDS(actc_session_load(other, bytes, needed, &error));
    CHECK(advance(other, &expected[0], 1, PROMPT_LENGTH) == expected[1]);
    bytes[needed / 2] ^= 1;
    FAILS(actc_session_load(other, bytes, needed, &error), ACTC_FAILED, "snapshot-digest");
    FAILS(actc_session_load(other, bytes, 10, &error), ACTC_FAILED, "snapshot-truncated");
    FAILS(actc_session_load(other, NULL, 10, &error), ACTC_REQUEST, "null-argument");
    CHECK(advance(other, &expected[0], 1, PROMPT_LENGTH) == expected[1]);
    free(bytes);
    actc_session_free(session);
    actc_session_free(other);
}

static int messages = 0;

static void count_message(void *user, int32_t level, const char *text) {
    messages += user == &messages && (level == ACTC_LOG_INFO || level == ACTC_LOG_WARNING) && *text;
}

static void logged(const char *path) {
    actc_model_options opening = {.struct_size = sizeof opening, .log = count_message, .log_user = &messages};
    actc_model *model = NULL;
    SUCCEEDS(actc_model_open(path, &opening, &model, &error));
    CHECK(messages == 2);
    actc_model_free(model);
    opening.trust_code = 1;
    opening.skip_digests = 1;
    SUCCEEDS(actc_model_open(path, &opening, &model, &error));
    actc_session_free(make_session(model, 8, 1));
    CHECK(messages == 5);
    actc_model_free(model);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    CHECK(actc_abi_version() == ACTC_ABI_VERSION);
    models(argv[1], argv[2]);
    untrusted(argv[1]);
    actc_model *model = open_model(argv[1]);
    descriptions(model);
    opening_sessions(model);
    runs(model);
    memory_before(model);
    saved(model);
    logged(argv[1]);
    actc_model_free(model);
    actc_model_free(NULL);
    actc_session_free(NULL);
    actc_error_free(NULL);
    CHECK(*actc_error_code(NULL) == 0 && *actc_error_help(NULL) == 0);
    return checks_failed ? 1 : 0;
}
