/* The reader of the suite `shm`: waits for each pose and prints how late it had it [ns], or with `read` how long one read
 * takes.
 *
 *     shm_reader NAME late|read COUNT
 */
#include <bodystream.h>

int main(int argc, char **argv) {
    bodystream_reader reader;
    bodystream_pose pose;
    long left = argc == 4 ? atol(argv[3]) : 0;
    int64_t *late = (int64_t *)malloc(sizeof *late * (size_t)(left > 0 ? left : 1));
    long count = 0, k;
    memset(&pose, 0, sizeof pose);
    if (argc != 4 || late == NULL || bodystream_open(argv[1], &reader) != BODYSTREAM_OK) return 1;
    puts("reading");
    fflush(stdout);
    if (strcmp(argv[2], "read") == 0) {
        int64_t start_ns = bodystream_now_ns();
        for (k = 0; k < left; k++)
            if (bodystream_read_pose(&reader, &pose) != BODYSTREAM_OK) return 1;
        printf("%.1f\n", (double)(bodystream_now_ns() - start_ns) / (double)left);
    } else {
        while (count < left && (long)pose.number < left) {
            bodystream_result result = bodystream_wait_pose(&reader, pose.number, 1000, &pose);
            if (result == BODYSTREAM_OK) late[count++] = bodystream_now_ns() - pose.sample_ns;
            else if (result != BODYSTREAM_NOTHING_YET) break;
        }
        for (k = 0; k < count; k++) printf("%lld\n", (long long)late[k]);
    }
    bodystream_close(&reader);
    free(late);
    return 0;
}
