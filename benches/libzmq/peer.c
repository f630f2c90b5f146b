/*
 * One end of a measurement of libzmq, in C, so that no other language's binding is measured with it.
 *
 * peer LIBRARY ROLE ADDRESS SIZE WARM COUNT
 *
 * LIBRARY is a libzmq.so, opened at run time: a Python wheel of pyzmq brings one. Roles:
 *   pull  binds, says "at ADDRESS", takes WARM messages, says "warm", takes COUNT, touching every page, and says its figures
 *   push  connects, sends WARM messages, waits for a line, sends COUNT, and waits for another line
 *   rep   binds, says "at ADDRESS", and answers each message with one of the same size
 *   req   connects, and says the nanoseconds of each of COUNT round trips after WARM
 * Figures: "0 BYTES 0 CPU PEAK", as numpush-benches' own peers say them.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* Of zmq.h, whose numbers are part of libzmq's ABI. */
enum { ZMQ_REQ = 3, ZMQ_REP = 4, ZMQ_PULL = 7, ZMQ_PUSH = 8 };
enum { ZMQ_LINGER = 17, ZMQ_SNDHWM = 23, ZMQ_RCVHWM = 24, ZMQ_LAST_ENDPOINT = 32 };
typedef union { unsigned char bytes[64]; void *align; } zmq_msg_t;
typedef void (zmq_free_fn)(void *data, void *hint);

static void *(*zmq_ctx_new)(void);
static void *(*zmq_socket)(void *, int);
static int (*zmq_bind)(void *, const char *);
static int (*zmq_connect)(void *, const char *);
static int (*zmq_close)(void *);
static int (*zmq_ctx_term)(void *);
static int (*zmq_setsockopt)(void *, int, const void *, size_t);
static int (*zmq_getsockopt)(void *, int, void *, size_t *);
static int (*zmq_send)(void *, const void *, size_t, int);
static int (*zmq_msg_init)(zmq_msg_t *);
static int (*zmq_msg_init_data)(zmq_msg_t *, void *, size_t, zmq_free_fn *, void *);
static int (*zmq_msg_send)(zmq_msg_t *, void *, int);
static int (*zmq_msg_recv)(zmq_msg_t *, void *, int);
static int (*zmq_msg_close)(zmq_msg_t *);
static void *(*zmq_msg_data)(zmq_msg_t *);
static size_t (*zmq_msg_size)(const zmq_msg_t *);

static void need(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "libzmq peer: %s\n", what);
        exit(1);
    }
}

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    need(library != NULL, "the library cannot be opened");
#define FIND(name) need((*(void **)&name = dlsym(library, #name)) != NULL, "no " #name)
    FIND(zmq_ctx_new);
    FIND(zmq_socket);
    FIND(zmq_bind);
    FIND(zmq_connect);
    FIND(zmq_close);
    FIND(zmq_ctx_term);
    FIND(zmq_setsockopt);
    FIND(zmq_getsockopt);
    FIND(zmq_send);
    FIND(zmq_msg_init);
    FIND(zmq_msg_init_data);
    FIND(zmq_msg_send);
    FIND(zmq_msg_recv);
    FIND(zmq_msg_close);
    FIND(zmq_msg_data);
    FIND(zmq_msg_size);
#undef FIND
}

static double processor_seconds(struct rusage *usage)
{
    getrusage(RUSAGE_SELF, usage);
    return usage->ru_utime.tv_sec + usage->ru_stime.tv_sec + (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

static long long nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void wait_for_a_line(void)
{
    char line[16];
    need(fgets(line, sizeof line, stdin) != NULL, "standard input ended");
}

static void keep(void *data, void *hint)
{
    (void)data;
    (void)hint;
}

/* A copy of a short message costs less than the note of who owns it. */
static void send_one(void *socket, void *payload, size_t size)
{
    zmq_msg_t message;
    if (size <= 4096) {
        need(zmq_send(socket, payload, size, 0) >= 0, "a send failed");
        return;
    }
    need(zmq_msg_init_data(&message, payload, size, keep, NULL) == 0, "no message");
    need(zmq_msg_send(&message, socket, 0) >= 0, "a send failed");
}

/* Receives a message and looks at a byte of every page, or at both ends. */
static volatile unsigned char seen;

static void take_one(void *socket, size_t size, int all)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    need(zmq_msg_recv(&message, socket, 0) >= 0, "a receive failed");
    need(zmq_msg_size(&message) == size, "a message of another size came");
    const unsigned char *data = zmq_msg_data(&message);
    unsigned char sum = data[size - 1];
    for (size_t at = 0; at < size; at += all ? 4096 : size)
        sum += data[at];
    seen = sum;
    zmq_msg_close(&message);
}

static void *open_socket(void *context, int type, size_t size)
{
    void *socket = zmq_socket(context, type);
    need(socket != NULL, "no socket");
    /* As many messages as 64 MiB hold, and 2 at the least. */
    int limit = size > (64 << 20) / 2 ? 2 : (int)((64 << 20) / size);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &limit, sizeof limit);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &limit, sizeof limit);
    return socket;
}

static void say_address(void *socket)
{
    char address[256];
    size_t length = sizeof address;
    need(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, address, &length) == 0, "no address");
    printf("at %s\n", address);
    fflush(stdout);
}

static void say_figures(size_t size, double before)
{
    struct rusage usage;
    double cpu = processor_seconds(&usage) - before;
    printf("0 %zu 0 %f %ld\n", size, cpu, usage.ru_maxrss * 1024L);
    fflush(stdout);
}

static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    need(argc == 7, "LIBRARY ROLE ADDRESS SIZE WARM COUNT");
    load(argv[1]);
    const char *role = argv[2], *address = argv[3];
    size_t size = strtoull(argv[4], NULL, 10);
    long warm = atol(argv[5]), count = atol(argv[6]);
    need(size > 0 && count > 0, "SIZE and COUNT are at least 1");
    /* Whoever only receives holds what libzmq gives. */
    void *payload = NULL;
    if (strcmp(role, "pull") != 0) {
        payload = malloc(size);
        need(payload != NULL, "no memory");
        memset(payload, 7, size);
    }
    void *context = zmq_ctx_new();
    struct rusage usage;
    double before;

    if (strcmp(role, "pull") == 0) {
        void *socket = open_socket(context, ZMQ_PULL, size);
        need(zmq_bind(socket, address) == 0, "bind failed");
        say_address(socket);
        for (long at = 0; at < warm; at++)
            take_one(socket, size, 1);
        say("warm");
        before = processor_seconds(&usage);
        for (long at = 0; at < count; at++)
            take_one(socket, size, 1);
        say_figures(size, before);
        zmq_close(socket);
    } else if (strcmp(role, "push") == 0) {
        void *socket = open_socket(context, ZMQ_PUSH, size);
        need(zmq_connect(socket, address) == 0, "connect failed");
        for (long at = 0; at < warm; at++)
            send_one(socket, payload, size);
        wait_for_a_line();
        before = processor_seconds(&usage);
        for (long at = 0; at < count; at++)
            send_one(socket, payload, size);
        wait_for_a_line();
        say_figures(size, before);
        zmq_close(socket);
    } else if (strcmp(role, "rep") == 0) {
        void *socket = open_socket(context, ZMQ_REP, size);
        need(zmq_bind(socket, address) == 0, "bind failed");
        say_address(socket);
        for (long at = 0; at < warm + count; at++) {
            take_one(socket, size, 0);
            send_one(socket, payload, size);
        }
        zmq_close(socket);
    } else if (strcmp(role, "req") == 0) {
        void *socket = open_socket(context, ZMQ_REQ, size);
        need(zmq_connect(socket, address) == 0, "connect failed");
        for (long at = 0; at < warm + count; at++) {
            long long began = nanoseconds();
            send_one(socket, payload, size);
            take_one(socket, size, 0);
            if (at >= warm)
                printf("%lld ", nanoseconds() - began);
        }
        say("");
        zmq_close(socket);
    } else {
        need(0, "a role is pull, push, rep or req");
    }
    zmq_ctx_term(context);
    free(payload);
    return 0;
}
