/*
 * A payment application's side of payment.sock in plain C: status, a lease around a sale, a durable record.
 *
 *     gcc -std=c11 -Wall -Wextra -o payment_app payment_app.c
 *     ./payment_app /run/pos-agent/payment.sock PROVIDER MID TID BATCH_NO STAN AMOUNT_MINOR CURRENCY
 *
 * Exit codes: 0 the record is durable; 1 refused for good: never send it again as it is; 2 wrong use; 3 nobody has
 * acknowledged it: go on selling, keep the record, and send the very same one again later; 4 no sale now.
 *
 * No library is needed: every request is one line of JSON, and of an answer only few members matter. The rules that any
 * application has to keep are marked RULE. Copy what you need; the file stands under the licence of pos-agent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 500, LINE_BYTES = 64 * 1024, LEASE_S = 60, TEXT_BYTES = 65 };

struct agent {
    const char *path;
    int fd; /* -1: not connected */
    unsigned id;
    char line[LINE_BYTES]; /* the latest answer, without its newline */
};

enum outcome { DONE, REFUSED, LATER };

/* ---- one call: a line out, a line in, never longer than the deadline ------------------------------------------ */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool ready(int fd, short events, int64_t deadline_ms)
{
    struct pollfd one = {.fd = fd, .events = events};
    int64_t left_ms;
    while ((left_ms = deadline_ms - now_ms()) > 0) {
        int found = poll(&one, 1, (int)left_ms);
        if (found > 0)
            return true;
        if (found < 0 && errno != EINTR)
            return false;
    }
    return false;
}

static void hang_up(struct agent *agent)
{
    if (agent->fd >= 0)
        close(agent->fd);
    agent->fd = -1;
}

static bool connected(struct agent *agent)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (agent->fd >= 0)
        return true;
    if (strlen(agent->path) >= sizeof address.sun_path)
        return false;
    strcpy(address.sun_path, agent->path);
    agent->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (agent->fd >= 0 && connect(agent->fd, (struct sockaddr *)&address, sizeof address) < 0)
        hang_up(agent);
    return agent->fd >= 0;
}

static bool send_all(int fd, const char *data, size_t size, int64_t deadline_ms)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (sent < 0 && errno == EAGAIN) {
            if (!ready(fd, POLLOUT, deadline_ms))
                return false;
        } else if (sent < 0 && errno != EINTR) {
            return false;
        }
    }
    return true;
}

static bool read_line(struct agent *agent, int64_t deadline_ms)
{
    size_t size = 0;
    for (;;) {
        if (!ready(agent->fd, POLLIN, deadline_ms))
            return false;
        ssize_t part = recv(agent->fd, agent->line + size, LINE_BYTES - 1 - size, 0);
        if (part < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (part <= 0) /* closed, or an answer longer than any to these calls */
            return false;
        size += (size_t)part;
        if (agent->line[size - 1] == '\n') { /* one call at a time: nothing can follow */
            agent->line[size - 1] = '\0';
            return true;
        }
    }
}

static bool exchange(struct agent *agent, const char *request, size_t size)
{
    int64_t deadline_ms = now_ms() + TIMEOUT_MS;
    if (connected(agent) && send_all(agent->fd, request, size, deadline_ms) && read_line(agent, deadline_ms))
        return true;
    hang_up(agent); /* so that a late answer is never taken for that of another call */
    return false;
}

/* ---- JSON: as much as is needed ------------------------------------------------------------------------------- */

/* Copies the text member "name" of the answer; only for members that hold plain words, such as codes and ids. */
static bool text_member(const char *json, const char *name, char *out, size_t size)
{
    char key[TEXT_BYTES];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *begin = strstr(json, key);
    const char *end = begin ? strchr(begin + strlen(key), '"') : NULL;
    if (end == NULL || (size_t)(end - begin) - strlen(key) >= size)
        return false;
    begin += strlen(key);
    memcpy(out, begin, (size_t)(end - begin));
    out[end - begin] = '\0';
    return true;
}

static bool number_member(const char *json, const char *name, double *out)
{
    char key[TEXT_BYTES];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *begin = strstr(json, key);
    char *end = NULL;
    if (begin == NULL)
        return false;
    *out = strtod(begin + strlen(key), &end);
    return end != begin + strlen(key);
}

/* What came on the command line may only be a plain word: it needs no escaping then. */
static bool is_word(const char *text)
{
    return *text != '\0' && strlen(text) < TEXT_BYTES &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(text);
}

/* One call; `code` is data.code of the error where it was refused. */
__attribute__((format(printf, 4, 5))) static enum outcome call(struct agent *agent, char code[TEXT_BYTES],
                                                               const char *method, const char *format, ...)
{
    char params[4096], request[4352];
    va_list values;
    va_start(values, format);
    int used = vsnprintf(params, sizeof params, format, values);
    va_end(values);
    code[0] = '\0';
    if (used < 0 || (size_t)used >= sizeof params)
        return REFUSED;
    int size = snprintf(request, sizeof request, "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"%s\",\"params\":%s}\n",
                        ++agent->id, method, params);
    bool was_open = agent->fd >= 0;
    /* RULE: after a break the same request once more; a record may be sent any number of times. */
    if (!exchange(agent, request, (size_t)size) && !(was_open && exchange(agent, request, (size_t)size)))
        return LATER;
    if (strstr(agent->line, "\"error\":{") == NULL)
        return DONE;
    const char *data = strstr(agent->line, "\"data\":{");
    if (data == NULL || !text_member(data, "code", code, TEXT_BYTES))
        return LATER;
    return REFUSED;
}

/* ---- a record's own values ------------------------------------------------------------------------------------ */

static void new_transaction_id(char out[37]) /* UUID version 7: time-ordered */
{
    uint8_t b[16];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        abort();
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)(ms >> (40 - 8 * i));
    b[6] = (uint8_t)(0x70 | (b[6] & 0x0f));
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

static void local_time(char out[32]) /* RFC 3339 with offset */
{
    char zone[8];
    time_t now = time(NULL);
    struct tm parts;
    localtime_r(&now, &parts);
    strftime(zone, sizeof zone, "%z", &parts);
    size_t used = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + used, 32 - used, "%.3s:%.2s", zone, zone + 3);
}

/* ---- what an application does --------------------------------------------------------------------------------- */

/* RULE: at least every 30 s; after 90 s of silence the terminal counts as not ready and operations wait. */
static void report_status(struct agent *agent, const char *batch_no)
{
    char code[TEXT_BYTES];
    call(agent, code, "app.status",
         "{\"ready\":true,\"signed_in\":true,\"batch_no\":\"%s\",\"pending_reversals\":0,\"unknown_results\":0,"
         "\"saf_count\":0}",
         batch_no);
}

/*
 * RULE: a lease keeps resets, updates and reboots away. Two answers alone forbid the sale; without an answer, or with
 * any other (a group that is missing, too many leases), it goes on all the same.
 */
static bool may_sell(struct agent *agent, char lease_id[TEXT_BYTES])
{
    char code[TEXT_BYTES];
    double wait_s;
    bool running, locked;
    lease_id[0] = '\0';
    enum outcome outcome = call(agent, code, "sale.begin", "{\"lease_s\":%d,\"purpose\":\"sale\"}", LEASE_S);
    if (outcome == DONE && !text_member(agent->line, "lease_id", lease_id, TEXT_BYTES))
        lease_id[0] = '\0';
    running = outcome == REFUSED && strcmp(code, "OPERATION_RUNNING") == 0;
    locked = outcome == REFUSED && strcmp(code, "TERMINAL_LOCKED") == 0;
    if (running && number_member(agent->line, "retry_after_s", &wait_s))
        printf("the terminal is being worked on: ask again in %.0f s\n", wait_s);
    if (locked)
        printf("the terminal is locked: no new sale\n");
    return !running && !locked;
}

static void end_sale(struct agent *agent, const char *lease_id)
{
    char code[TEXT_BYTES];
    if (lease_id[0] != '\0') /* if this is lost, the lease ends by itself */
        call(agent, code, "sale.end", "{\"lease_id\":\"%s\"}", lease_id);
}

/* RULE: "stored" only after the answer. These four codes are final; everything else is sent again later, unchanged. */
static enum outcome record(struct agent *agent, const char *json)
{
    static const char *const final[] = {"TXN_CONFLICT", "INVALID_TRANSITION", "BAD_PARAMS", "CARD_DATA_REJECTED"};
    char code[TEXT_BYTES];
    double sequence;
    enum outcome outcome = call(agent, code, "transaction.record", "%s", json);
    if (outcome == DONE && number_member(agent->line, "sequence", &sequence)) {
        printf("durable, sequence %.0f\n", sequence);
        return DONE;
    }
    for (size_t i = 0; outcome == REFUSED && i < sizeof final / sizeof *final; i++)
        if (strcmp(code, final[i]) == 0) {
            printf("refused for good: %s\n", code);
            return REFUSED;
        }
    printf("not acknowledged%s%s: keep the record and send it again\n", *code ? ", " : "", code);
    return LATER;
}

int main(int argc, char **argv)
{
    char transaction_id[37], at[32], json[1024], lease_id[TEXT_BYTES];
    if (argc != 9) {
        fprintf(stderr, "usage: %s SOCKET PROVIDER MID TID BATCH_NO STAN AMOUNT_MINOR CURRENCY\n", argv[0]);
        return 2;
    }
    for (int i = 2; i < argc; i++)
        if (!is_word(argv[i])) {
            fprintf(stderr, "argument %d is no plain word\n", i);
            return 2;
        }
    if (strspn(argv[7], "0123456789") != strlen(argv[7]) || strlen(argv[7]) > 12) {
        fprintf(stderr, "AMOUNT_MINOR is a whole number of the smallest unit\n");
        return 2;
    }
    struct agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL)
        return 2;
    agent->path = argv[1];
    agent->fd = -1;
    report_status(agent, argv[5]);
    if (!may_sell(agent, lease_id)) {
        hang_up(agent);
        free(agent);
        return 4;
    }
    /* … the card is read and the acquirer is asked here; then, with what came of it: */
    new_transaction_id(transaction_id);
    local_time(at);
    snprintf(json, sizeof json,
             "{\"transaction_id\":\"%s\",\"state\":\"approved\",\"type\":\"sale\",\"provider\":\"%s\",\"mid\":\"%s\","
             "\"tid\":\"%s\",\"batch_no\":\"%s\",\"stan\":\"%s\",\"amount_minor\":%s,\"currency\":\"%s\","
             "\"local_at\":\"%s\"}",
             transaction_id, argv[2], argv[3], argv[4], argv[5], argv[6], argv[7], argv[8], at);
    enum outcome outcome = record(agent, json);
    end_sale(agent, lease_id);
    hang_up(agent);
    free(agent);
    return outcome == DONE ? 0 : outcome == REFUSED ? 1 : 3;
}
