/* Bytes become a table in CSV, of rollouts or of battles by the first byte, as the command reads
 * it. */
#include <math.h>
#include <stdio.h>

#include "fuzz.h"
#include "input/tables.h"

/* A context that was handed on has what its table gives, whole. */
static int take_context(void *user, context *c, const char *place, const char *status,
                        const char *message)
{
    int *contexts = user;
    ++*contexts;
    promise(place != NULL && place[0] != '\0', "a context has a place", "");
    if (status != NULL) {
        promise(message != NULL && message[0] != '\0', "a refusal says why", status);
        return 1;
    }
    promise(c->outcomes > 0 && (c->margins != NULL || c->rewards != NULL || c->support != NULL),
            "a context has data", place);
    for (int64_t i = 0; c->margins != NULL && i < c->outcomes * c->outcomes; i++) {
        promise(fabs(c->margins[i]) <= 1.0, "margins in [-1, 1]", place);
    }
    for (int64_t o = 0; c->rewards != NULL && o < c->outcomes; o++) {
        promise(isfinite(c->rewards[o]), "rewards that are numbers", place);
    }
    (void)context_contradiction(c);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const columns PLAIN = {.prompt = NULL};
    static const columns FULL = {.prompt = "prompt",
                                 .reward = "reward",
                                 .outcome = "outcome",
                                 .count = "count",
                                 .reference = "reference"};
    static const columns LOGS = {.prompt = "prompt", .logprob = "logprob"};
    settings defaults = {.given = 0};
    bytes b = {data, size};
    unsigned kind = take_below(&b, 4);
    int contexts = 0;
    if (b.left == 0) {
        return 0;
    }
    table_source source = {.battles = kind == 0,
                           .wanted = kind == 2   ? &FULL
                                     : kind == 3 ? &LOGS
                                                 : &PLAIN,
                           .defaults = &defaults,
                           .sink = take_context,
                           .user = &contexts};
    FILE *file = fmemopen((void *)(uintptr_t)b.next, b.left, "rb");
    promise(file != NULL, "bytes as a file", "");
    const table_file files[] = {{file, "table.csv"}};
    int whole = read_table(files, 1, &source);
    promise(whole || contexts > 0, "a failure is told", "");
    (void)fclose(file);
    return 0;
}
