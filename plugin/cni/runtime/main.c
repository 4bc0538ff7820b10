/*
 * The process around the plugin's JavaScript: the system calls that host.ts declares, and nothing that decides.
 *
 * One thread, blocking calls with a time limit: a call of the plugin is one exchange with the agent. Failed system
 * calls throw an Error with `code` (the errno's name) and a message as Node's, so that both read alike.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "quickjs.h"

extern char **environ;
/* Made by the build: plugin/cni/main.ts with all that it imports, as one module, and package.json's version. */
extern const char berth_program[];
extern const size_t berth_program_size;
extern const char berth_version[];

static const size_t CHUNK = 64 * 1024;

/* errno as an exception; `what` is the system call, `path` what it was about, or NULL. */
static JSValue throw_errno(JSContext *ctx, const char *what, const char *path)
{
    int saved = errno;
    const char *name = strerrorname_np(saved);
    JSValue error = JS_NewError(ctx);
    char message[512];
    if (name == NULL)
        name = "UNKNOWN";
    snprintf(message, sizeof message, path == NULL ? "%s: %s, %s" : "%s: %s, %s '%.300s'", name, strerror(saved), what,
             path);
    JS_DefinePropertyValueStr(ctx, error, "message", JS_NewString(ctx, message),
                              JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    JS_DefinePropertyValueStr(ctx, error, "code", JS_NewString(ctx, name), JS_PROP_C_W_E);
    return JS_Throw(ctx, error);
}

static double milliseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* Waits for `events` until `deadline` on the monotonic clock; 1: they are there, 0: too late, -1: errno. */
static int wait_for(int fd, short events, double deadline)
{
    for (;;) {
        double left = ceil(deadline - milliseconds(CLOCK_MONOTONIC));
        struct pollfd each = {.fd = fd, .events = events};
        int ready = poll(&each, 1, left <= 0 ? 0 : left > 3600e3 ? 3600000 : (int)left);
        if (ready > 0)
            return 1;
        if (ready == 0 && left <= 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -1;
    }
}

/* All of it, also into a pipe that does not block; 0, or -1 with errno. */
static int write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = write(fd, bytes, size);
        if (count >= 0) {
            bytes += count;
            size -= (size_t)count;
        } else if (errno == EAGAIN) {
            struct pollfd each = {.fd = fd, .events = POLLOUT};
            poll(&each, 1, -1);
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

/* An argument as a path; NULL with an exception if it is no string, or holds a NUL that would cut it off. */
static const char *path_of(JSContext *ctx, JSValueConst value)
{
    size_t size;
    const char *path = JS_ToCStringLen(ctx, &size, value);
    if (path != NULL && strlen(path) != size) {
        JS_FreeCString(ctx, path);
        errno = EINVAL;
        throw_errno(ctx, "path", NULL);
        return NULL;
    }
    return path;
}

#define HOST(name) static JSValue host_##name(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)

HOST(environment)
{
    JSValue result = JS_NewObjectProto(ctx, JS_NULL);
    for (char **each = environ; *each != NULL; each++) {
        const char *equals = strchr(*each, '=');
        if (equals == NULL)
            continue;
        JSAtom name = JS_NewAtomLen(ctx, *each, (size_t)(equals - *each));
        JS_DefinePropertyValue(ctx, result, name, JS_NewString(ctx, equals + 1), JS_PROP_C_W_E);
        JS_FreeAtom(ctx, name);
    }
    return result;
}

HOST(interactive)
{
    return JS_NewBool(ctx, isatty(0));
}

HOST(readInput)
{
    int64_t limit;
    size_t size = 0, capacity = 0;
    uint8_t *bytes = NULL;
    if (JS_ToInt64(ctx, &limit, argv[0]) < 0)
        return JS_EXCEPTION;
    while (size < (size_t)limit) {
        if (size == capacity) {
            capacity += CHUNK;
            uint8_t *larger = realloc(bytes, capacity);
            if (larger == NULL) {
                free(bytes);
                return JS_ThrowOutOfMemory(ctx);
            }
            bytes = larger;
        }
        size_t room = capacity - size, left = (size_t)limit - size;
        ssize_t count = read(0, bytes + size, room < left ? room : left);
        if (count == 0)
            break;
        if (count > 0) {
            size += (size_t)count;
        } else if (errno == EAGAIN) {
            struct pollfd each = {.fd = 0, .events = POLLIN};
            poll(&each, 1, -1);
        } else if (errno != EINTR) {
            free(bytes);
            return throw_errno(ctx, "read", "stdin");
        }
    }
    JSValue result = JS_NewUint8ArrayCopy(ctx, bytes, size);
    free(bytes);
    return result;
}

HOST(print)
{
    int fd;
    size_t size;
    if (JS_ToInt32(ctx, &fd, argv[0]) < 0)
        return JS_EXCEPTION;
    const char *text = JS_ToCStringLen(ctx, &size, argv[1]);
    if (text == NULL)
        return JS_EXCEPTION;
    int failed = write_all(fd, text, size);
    JS_FreeCString(ctx, text);
    return failed ? throw_errno(ctx, "write", NULL) : JS_UNDEFINED;
}

HOST(exit)
{
    int code;
    if (JS_ToInt32(ctx, &code, argv[0]) < 0)
        return JS_EXCEPTION;
    /* Nothing is buffered, and the kernel takes the memory back faster than the engine would. */
    _exit(code);
}

HOST(encode)
{
    size_t size;
    const char *text = JS_ToCStringLen(ctx, &size, argv[0]);
    if (text == NULL)
        return JS_EXCEPTION;
    JSValue result = JS_NewUint8ArrayCopy(ctx, (const uint8_t *)text, size);
    JS_FreeCString(ctx, text);
    return result;
}

HOST(decode)
{
    size_t size, again_size;
    const uint8_t *bytes = JS_GetUint8Array(ctx, &size, argv[0]);
    if (bytes == NULL)
        return JS_EXCEPTION;
    JSValue text = JS_NewStringLen(ctx, (const char *)bytes, size);
    /* The engine replaces what is not UTF-8: only text that gives the same bytes again is what was sent. */
    const char *again = JS_ToCStringLen(ctx, &again_size, text);
    if (again == NULL)
        return JS_EXCEPTION;
    int same = again_size == size && memcmp(again, bytes, size) == 0;
    JS_FreeCString(ctx, again);
    if (same)
        return text;
    JS_FreeValue(ctx, text);
    return JS_UNDEFINED;
}

HOST(now)
{
    return JS_NewFloat64(ctx, milliseconds(CLOCK_REALTIME));
}

HOST(monotonic)
{
    return JS_NewFloat64(ctx, milliseconds(CLOCK_MONOTONIC));
}

HOST(random)
{
    uint64_t bits = 0;
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
        return throw_errno(ctx, "getrandom", NULL);
    return JS_NewFloat64(ctx, ldexp((double)(bits >> 11), -53));
}

HOST(pause)
{
    double ms;
    if (JS_ToFloat64(ctx, &ms, argv[0]) < 0)
        return JS_EXCEPTION;
    double deadline = milliseconds(CLOCK_MONOTONIC) + ms;
    return wait_for(-1, 0, deadline) < 0 ? throw_errno(ctx, "poll", NULL) : JS_UNDEFINED;
}

HOST(connect)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = path_of(ctx, argv[0]);
    if (path == NULL)
        return JS_EXCEPTION;
    int fd = -1;
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
    } else {
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        /* On a unix socket a connection is there at once, or EAGAIN says that too many wait to be accepted. */
        if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
            int saved = errno;
            close(fd);
            errno = saved;
            fd = -1;
        }
    }
    JSValue result = fd < 0 ? throw_errno(ctx, "connect", path) : JS_NewInt32(ctx, fd);
    JS_FreeCString(ctx, path);
    return result;
}

HOST(send)
{
    int fd;
    double ms;
    size_t size;
    if (JS_ToInt32(ctx, &fd, argv[0]) < 0 || JS_ToFloat64(ctx, &ms, argv[2]) < 0)
        return JS_EXCEPTION;
    const uint8_t *bytes = JS_GetUint8Array(ctx, &size, argv[1]);
    if (bytes == NULL)
        return JS_EXCEPTION;
    double deadline = milliseconds(CLOCK_MONOTONIC) + ms;
    while (size > 0) {
        ssize_t count = send(fd, bytes, size, MSG_NOSIGNAL);
        if (count >= 0) {
            bytes += count;
            size -= (size_t)count;
        } else if (errno == EAGAIN) {
            int ready = wait_for(fd, POLLOUT, deadline);
            if (ready <= 0)
                return ready < 0 ? throw_errno(ctx, "poll", NULL) : JS_FALSE;
        } else if (errno != EINTR) {
            return throw_errno(ctx, "send", NULL);
        }
    }
    return JS_TRUE;
}

HOST(receive)
{
    int fd;
    double ms;
    if (JS_ToInt32(ctx, &fd, argv[0]) < 0 || JS_ToFloat64(ctx, &ms, argv[1]) < 0)
        return JS_EXCEPTION;
    static uint8_t bytes[64 * 1024];
    double deadline = milliseconds(CLOCK_MONOTONIC) + ms;
    for (;;) {
        int ready = wait_for(fd, POLLIN, deadline);
        if (ready <= 0)
            return ready < 0 ? throw_errno(ctx, "poll", NULL) : JS_UNDEFINED;
        ssize_t count = recv(fd, bytes, sizeof bytes, 0);
        if (count >= 0)
            return JS_NewUint8ArrayCopy(ctx, bytes, (size_t)count);
        if (errno != EAGAIN && errno != EINTR)
            return throw_errno(ctx, "recv", NULL);
    }
}

HOST(close)
{
    int fd;
    if (JS_ToInt32(ctx, &fd, argv[0]) < 0)
        return JS_EXCEPTION;
    return close(fd) < 0 ? throw_errno(ctx, "close", NULL) : JS_UNDEFINED;
}

HOST(modified)
{
    struct stat status;
    const char *path = path_of(ctx, argv[0]);
    if (path == NULL)
        return JS_EXCEPTION;
    JSValue result;
    if (stat(path, &status) == 0)
        result = JS_NewFloat64(ctx, (double)status.st_mtim.tv_sec * 1e3 + (double)status.st_mtim.tv_nsec / 1e6);
    else
        result = errno == ENOENT || errno == ENOTDIR ? JS_UNDEFINED : throw_errno(ctx, "stat", path);
    JS_FreeCString(ctx, path);
    return result;
}

/* Opens, syncs what `text` of `size` bytes was written (NULL: nothing), closes; 0, or -1 with errno. */
static int write_synced(const char *path, int flags, const char *text, size_t size)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int failed = (text != NULL && write_all(fd, text, size) < 0) || fsync(fd) < 0;
    int saved = errno;
    if (close(fd) < 0 && !failed)
        return -1;
    errno = saved;
    return failed ? -1 : 0;
}

HOST(create)
{
    size_t size;
    const char *path = path_of(ctx, argv[0]);
    if (path == NULL)
        return JS_EXCEPTION;
    const char *text = JS_ToCStringLen(ctx, &size, argv[1]);
    JSValue result = text == NULL                                                              ? JS_EXCEPTION
                     : write_synced(path, O_WRONLY | O_CREAT | O_EXCL, text, size) < 0 ? throw_errno(ctx, "open", path)
                                                                                               : JS_UNDEFINED;
    if (text != NULL)
        JS_FreeCString(ctx, text);
    JS_FreeCString(ctx, path);
    return result;
}

HOST(rename)
{
    const char *from = path_of(ctx, argv[0]);
    const char *to = from == NULL ? NULL : path_of(ctx, argv[1]);
    JSValue result = to == NULL ? JS_EXCEPTION : rename(from, to) < 0 ? throw_errno(ctx, "rename", to) : JS_UNDEFINED;
    if (to != NULL)
        JS_FreeCString(ctx, to);
    if (from != NULL)
        JS_FreeCString(ctx, from);
    return result;
}

HOST(syncDirectory)
{
    const char *path = path_of(ctx, argv[0]);
    if (path == NULL)
        return JS_EXCEPTION;
    JSValue result =
        write_synced(path, O_RDONLY | O_DIRECTORY, NULL, 0) < 0 ? throw_errno(ctx, "fsync", path) : JS_UNDEFINED;
    JS_FreeCString(ctx, path);
    return result;
}

#define ENTRY(name, arguments) JS_CFUNC_DEF2(#name, arguments, host_##name, JS_PROP_C_W_E)
static const JSCFunctionListEntry HOST_FUNCTIONS[] = {
    ENTRY(environment, 0), ENTRY(interactive, 0), ENTRY(readInput, 1), ENTRY(print, 2),    ENTRY(exit, 1),
    ENTRY(encode, 1),      ENTRY(decode, 1),      ENTRY(now, 0),       ENTRY(monotonic, 0), ENTRY(random, 0),
    ENTRY(pause, 1),       ENTRY(connect, 1),     ENTRY(send, 3),      ENTRY(receive, 2),  ENTRY(close, 1),
    ENTRY(modified, 1),    ENTRY(create, 2),      ENTRY(rename, 2),    ENTRY(syncDirectory, 1),
};

/* main.ts answers every call and every error; what arrives here is a defect, and stdout gets no answer. */
static int die(JSContext *ctx, JSValue error)
{
    const char *text = JS_ToCString(ctx, error);
    dprintf(2, "berth: %s\n", text == NULL ? "out of memory" : text);
    return 1;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    JSRuntime *runtime = JS_NewRuntime();
    JSContext *ctx = runtime == NULL ? NULL : JS_NewContextRaw(runtime);
    /* No more of the language than the program uses: each part costs at every start. */
    if (ctx == NULL || JS_AddIntrinsicBaseObjects(ctx) || JS_AddIntrinsicEval(ctx) || JS_AddIntrinsicRegExp(ctx) ||
        JS_AddIntrinsicJSON(ctx) || JS_AddIntrinsicTypedArrays(ctx) || JS_AddIntrinsicPromise(ctx)) {
        dprintf(2, "berth: out of memory\n");
        return 1;
    }
    JSValue host = JS_NewObject(ctx);
    JS_SetPropertyFunctionList(ctx, host, HOST_FUNCTIONS, sizeof HOST_FUNCTIONS / sizeof HOST_FUNCTIONS[0]);
    JS_SetPropertyStr(ctx, host, "version", JS_NewString(ctx, berth_version));
    JSValue global = JS_GetGlobalObject(ctx);
    JS_SetPropertyStr(ctx, global, "host", host);
    JS_FreeValue(ctx, global);

    JSValue result = JS_Eval(ctx, berth_program, berth_program_size, "berth", JS_EVAL_TYPE_MODULE);
    if (JS_IsException(result))
        return die(ctx, JS_GetException(ctx));
    for (;;) {
        JSContext *job;
        int ran = JS_ExecutePendingJob(runtime, &job);
        if (ran < 0)
            return die(job, JS_GetException(job));
        if (ran == 0)
            break;
    }
    /* The program ends the process itself. */
    return die(ctx, JS_PromiseState(ctx, result) == JS_PROMISE_REJECTED ? JS_PromiseResult(ctx, result)
                                                                        : JS_NewString(ctx, "ended without an answer"));
}
