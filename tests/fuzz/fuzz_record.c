/* Bytes become one line of JSON, as the command reads it: parsed, checked, and opened as a problem
 * of the library. */
#include <grpoalign/grpoalign.h>

#include "fuzz.h"
#include "input/problem.h"
#include "input/record.h"

/* What a user waits for; larger groups and contexts are asked elsewhere. */
enum { MOST_OUTCOMES = 8, MOST_GROUP = 64 };

static void solve(const context *c)
{
    problem p;
    grpoalign_solution *solution = NULL;
    grpoalign_error error;
    grpoalign_status status = problem_open(&p, c, &error);
    promise((status >= 0) == (p.handle != NULL), "a problem or a failure", error.message);
    promise(status >= 0 || error.message[0] != '\0', "a failure says why", "");
    promise(status != GRPOALIGN_ERR_INTERNAL, "a status that explains", error.message);
    if (status >= 0 && c->settings.given & 1u << SETTING_BETA) {
        status = grpoalign_solve(p.handle, p.beta, NULL, &solution, &error);
        promise((status >= 0) == (solution != NULL), "a solution or a failure", error.message);
    }
    grpoalign_solution_free(solution);
    problem_close(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text line = {0}, message = {0};
    const char *status = NULL;
    context c = {.id = NULL};
    text_add(&line, (const char *)data, size);
    text_add(&line, "", 0);
    if (line.bytes != NULL) {
        int good = record_parse(&line, 0, &c, &status, &message);
        promise(good || (status != NULL && message.length > 0), "a refusal says why", "");
        if (good) {
            settings_fill_preset(&c.settings);
            if (context_contradiction(&c) == NULL && c.outcomes <= MOST_OUTCOMES &&
                c.settings.group_size <= MOST_GROUP) {
                solve(&c);
            }
        }
    }
    context_free(&c);
    text_free(&line);
    text_free(&message);
    return 0;
}
