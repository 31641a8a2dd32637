/* Replays a corpus: runs a target on every file of a folder, or on the files named. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

enum { MOST_BYTES = 1 << 16 };

static int replay_file(const char *path)
{
    static uint8_t content[MOST_BYTES];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "%s cannot be read\n", path);
        return 0;
    }
    size_t size = fread(content, 1, sizeof content, file);
    (void)fclose(file);
    /* A copy of just the size, so that reading beyond it is found. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    for (size_t i = 0; data != NULL && i < size; i++) {
        data[i] = content[i];
    }
    /* Said before: when the target ends the process, the last line names the file. */
    (void)fprintf(stderr, "%s\n", path);
    int good = data != NULL && LLVMFuzzerTestOneInput(data, size) == 0;
    free(data);
    return good;
}

static int replay_folder(DIR *folder, const char *path, int *count)
{
    const struct dirent *entry;
    char name[4096];
    int good = 1;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            good = replay_file(name) && good;
            ++*count;
        }
    }
    return good;
}

int main(int count, char **paths)
{
    int good = 1, files = 0;
    for (int i = 1; i < count; i++) {
        DIR *folder = opendir(paths[i]);
        if (folder != NULL) {
            good = replay_folder(folder, paths[i], &files) && good;
            (void)closedir(folder);
        } else {
            good = replay_file(paths[i]) && good;
            files++;
        }
    }
    (void)printf("%d files\n", files);
    return good && files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
