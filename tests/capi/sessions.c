// Sessions side by side: N threads with N sessions on one model give what each gives alone. MODEL.actc
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>

enum { SESSIONS = 4, ROUNDS = 3 };

typedef struct {
    const actc_model *model;
    size_t threads;
    int64_t prompt[PROMPT_LENGTH];
    int64_t made[ROUNDS][MADE];
} work;

static void *continue_prompt(void *argument) {
    work *w = argument;
    actc_session *session = make_session(w->model, PROMPT_LENGTH + MADE, w->threads);
    for (size_t round = 0; round < ROUNDS; round++) {
        greedy(session, w->prompt, PROMPT_LENGTH, w->made[round]);
    }
    actc_session_free(session);
    return NULL;
}

// How many mappings of this process are of the file at `path`, and how many can be written and executed.
static void mappings(const char *path, int *of_file, int *writable_code) {
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    *of_file = *writable_code = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        *of_file += strstr(line, path) != NULL;
        *writable_code += strstr(line, "rwx") != NULL;
    }
    if (maps) {
        fclose(maps);
    }
}

// Threads of the caller.
enum { MOST_THREADS = 8 };
static struct {
    pthread_t threads[MOST_THREADS];
    void (*serve[MOST_THREADS])(void *);
    void *argument[MOST_THREADS];
    int count;
    int limit;
} crew;

static void *serve_one(void *slot) {
    int i = (int)(intptr_t)slot;
    crew.serve[i](crew.argument[i]);
    return NULL;
}

static int32_t start(void *user, void (*serve)(void *), void *argument) {
    int i = crew.count;
    if (user != &crew || i == crew.limit) {
        return 7;
    }
    crew.serve[i] = serve;
    crew.argument[i] = argument;
    crew.count++;
    return pthread_create(&crew.threads[i], NULL, serve_one, (void *)(intptr_t)i);
}

static void callers_threads(const actc_model *model, const int64_t *expected) {
    actc_dim_value room[2] = {{"P", PROMPT_LENGTH + MADE}, {"S", 0}};
    actc_session_options options = {.struct_size = sizeof options, .dims = room, .dim_count = 2, .threads = 3};
    options.start_thread = start;
    options.start_user = &crew;
    for (crew.limit = 1; crew.limit <= 2; crew.limit++) {
        crew.count = 0;
        actc_session *session = NULL;
        if (crew.limit == 1) {
            FAILS(actc_session_new(model, &options, &session, &error), ACTC_FAILED, "thread-start");
        } else {
            int64_t made[MADE];
            SUCCEEDS(actc_session_new(model, &options, &session, &error));
            greedy(session, PROMPT, PROMPT_LENGTH, made);
            CHECK(memcmp(made, expected, sizeof made) == 0);
            actc_session_free(session);
        }
        CHECK(crew.count == crew.limit);
        for (int i = 0; i < crew.count; i++) {
            CHECK(pthread_join(crew.threads[i], NULL) == 0);
        }
    }
}

// One session under several threads: every call ends as it should or finds the session busy, and nothing breaks.
static actc_session *contested;

static void *contend(void *busy) {
    for (int i = 0; i < 200; i++) {
        actc_error *error = NULL;
        actc_status status = actc_session_reset(contested, &error);
        if (status != ACTC_OK) {
            CHECK(strcmp(actc_error_code(error), "session-busy") == 0);
            ++*(int *)busy;
        }
        actc_error_free(error);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        return 2;
    }
    actc_model *model = open_model(argv[1]);
    static work alone[SESSIONS], together[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        alone[i].model = model;
        alone[i].threads = 1;
        memcpy(alone[i].prompt, PROMPT, sizeof PROMPT);
        alone[i].prompt[PROMPT_LENGTH - 1] += i;
        together[i] = alone[i];
        together[i].threads = 1 + (size_t)i % 2;
        continue_prompt(&alone[i]);
        CHECK(memcmp(alone[i].made[0], alone[i].made[ROUNDS - 1], sizeof alone[i].made[0]) == 0);
    }
    CHECK(memcmp(alone[0].made, alone[1].made, sizeof alone[0].made) != 0);
    pthread_t threads[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        CHECK(pthread_create(&threads[i], NULL, continue_prompt, &together[i]) == 0);
    }
    for (int i = 0; i < SESSIONS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(memcmp(alone[i].made, together[i].made, sizeof alone[i].made) == 0);
    }

    int of_file = 0, writable_code = 0;
    contested = make_session(model, 64, 1);
    actc_session *second = make_session(model, 64, 1);
    mappings(argv[1], &of_file, &writable_code);
    CHECK(of_file == 1 && writable_code == 0);
    int busy[SESSIONS] = {0};
    for (int i = 0; i < SESSIONS; i++) {
        CHECK(pthread_create(&threads[i], NULL, contend, &busy[i]) == 0);
    }
    for (int i = 0; i < SESSIONS; i++) {
        pthread_join(threads[i], NULL);
    }
    actc_session_free(second);
    callers_threads(model, alone[0].made[0]);

    // A session goes on when its model is let go.
    actc_model_free(model);
    int64_t made[MADE];
    greedy(contested, PROMPT, PROMPT_LENGTH, made);
    CHECK(memcmp(made, alone[0].made[0], sizeof made) == 0);
    actc_session_free(contested);
    for (int i = 0; i < MADE; i++) {
        printf(i ? " %" PRId64 : "%" PRId64, alone[0].made[0][i]);
    }
    printf("\n");
    return checks_failed ? 1 : 0;
}
