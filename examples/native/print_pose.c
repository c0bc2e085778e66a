/* Prints the newest pose under a name, ten times a second, and finds its writer again when that is started anew.
 *
 *     cc examples/native/print_pose.c -Iinclude -o print_pose && ./print_pose body0
 *
 * A number behind the name ends it after so many poses.
 */
#include <bodystream.h>

static void show(const bodystream_reader *reader, const bodystream_pose *pose) {
    static const char *const states[] = {"lost", "degraded", "tracked"};
    char name[16];
    int joint;
    printf("pose %llu, %s, %.1f ms after the headset measured it", (unsigned long long)pose->number,
           pose->status < 3 ? states[pose->status] : "?", 1e-6 * (double)(bodystream_now_ns() - pose->sample_ns));
    printf(pose->reason[0] ? ": %s\n" : "%s\n", pose->reason);
    for (joint = 0; joint < BODYSTREAM_JOINTS; joint++) {
        const float *at = pose->joints[joint].position_m, *turn = pose->joints[joint].rotation_xyzw;
        bodystream_joint_name(reader, joint, name);
        printf("  %-15s at %7.3f %7.3f %7.3f m, turned %6.3f %6.3f %6.3f %6.3f\n", name, (double)at[0], (double)at[1],
               (double)at[2], (double)turn[0], (double)turn[1], (double)turn[2], (double)turn[3]);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "body0";
    long left = argc > 2 ? atol(argv[2]) : -1;
    bodystream_reader reader;
    bodystream_pose pose;
    bodystream_result result = bodystream_open(name, &reader), told = BODYSTREAM_OK;
    memset(&pose, 0, sizeof pose);
    while (left != 0) {
        struct timespec pause = {0, 100000000};
        if (result == BODYSTREAM_OK) result = bodystream_wait_pose(&reader, pose.number, 1000, &pose);
        if (result == BODYSTREAM_OK) {
            show(&reader, &pose);
            told = BODYSTREAM_OK;
            if (left > 0) left--;
        } else if (result == BODYSTREAM_OTHER_ABI || result == BODYSTREAM_BAD_NAME || result == BODYSTREAM_NOT_OFFERED) {
            fprintf(stderr, "%s\n", reader.message[0] ? reader.message : bodystream_explain(result));
            return 1;
        } else if (result != BODYSTREAM_NOTHING_YET) {
            if (result != told) fprintf(stderr, "%s: %s; waiting for it\n", name, bodystream_explain(result));
            told = result;
            bodystream_close(&reader);
            pose.number = 0;
            result = bodystream_open(name, &reader);
        } else {
            result = BODYSTREAM_OK; /* nothing new within the second */
        }
        nanosleep(&pause, NULL);
    }
    bodystream_close(&reader);
    return 0;
}
