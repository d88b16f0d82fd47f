/* What the agent knows of the device's conditions: power from the kernel, the kind of network from
 * the default route, load; and the conditions file, in which whoever knows better has the last
 * word. */
#include "agent/agent.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX_BYTES 4096u
#define IDLE_LOAD      0.5 /* of a processor, each */

/* The file's text without its line end; "" when there is none. */
static void read_text(const char *root, const char *path, char *out, size_t cap) {
    char full[IO_PATH_MAX];
    struct buf b;
    buf_init(&b, TEXT_MAX_BYTES);
    out[0] = '\0';
    if (io_join(full, sizeof full, root, path, NULL) == SOTTO_OK &&
        io_read_file(full, TEXT_MAX_BYTES, &b, NULL) == SOTTO_OK && b.len > 0) {
        const size_t n = b.len < cap ? b.len : cap - 1;
        memcpy(out, b.data, n);
        out[n] = '\0';
        out[strcspn(out, "\n")] = '\0';
    }
    buf_deinit(&b);
}

struct power {
    const char *root;
    bool battery, charging, mains;
    int percent;
};

static enum sotto_status look_at_supply(void *ctx, const char *name) {
    struct power *p = ctx;
    char path[IO_PATH_MAX], type[32], scope[32], text[32];
    uint64_t percent;
    snprintf(path, sizeof path, "sys/class/power_supply/%.200s/type", name);
    read_text(p->root, path, type, sizeof type);
    snprintf(path, sizeof path, "sys/class/power_supply/%.200s/scope", name);
    read_text(p->root, path, scope, sizeof scope);
    if (strcmp(scope, "Device") == 0) /* a mouse's battery, say */
        return SOTTO_OK;
    if (strcmp(type, "Battery") != 0) {
        snprintf(path, sizeof path, "sys/class/power_supply/%.200s/online", name);
        read_text(p->root, path, text, sizeof text);
        p->mains = p->mains || strcmp(text, "1") == 0;
        return SOTTO_OK;
    }
    p->battery = true;
    snprintf(path, sizeof path, "sys/class/power_supply/%.200s/status", name);
    read_text(p->root, path, text, sizeof text);
    p->charging = p->charging || strcmp(text, "Charging") == 0 || strcmp(text, "Full") == 0;
    snprintf(path, sizeof path, "sys/class/power_supply/%.200s/capacity", name);
    read_text(p->root, path, text, sizeof text);
    if (num_parse_u64(text, 0, 100, &percent, NULL) == SOTTO_OK &&
        (p->percent < 0 || (int)percent < p->percent))
        p->percent = (int)percent;
    return SOTTO_OK;
}

/* Without a battery the device hangs on the mains. */
static void look_at_power(const char *root, sotto_client_conditions *out) {
    struct power p = {.root = root, .percent = -1};
    char path[IO_PATH_MAX];
    if (io_join(path, sizeof path, root, "sys/class/power_supply", NULL) == SOTTO_OK)
        (void)io_list(path, look_at_supply, &p, NULL);
    out->charging = !p.battery || p.charging || p.mains;
    out->battery_percent = p.battery ? p.percent : -1;
}

/* Mobile networks are metered; of others nothing is known that says so. */
static bool on_mobile_network(const char *root) {
    char path[IO_PATH_MAX], line[256], interface[32], destination[16], type[512];
    bool mobile = false;
    if (io_join(path, sizeof path, root, "proc/net/route", NULL) != SOTTO_OK)
        return false;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%31s %15s", interface, destination) != 2 ||
            strcmp(destination, "00000000") != 0)
            continue;
        snprintf(path, sizeof path, "sys/class/net/%s/uevent", interface);
        read_text(root, path, type, sizeof type);
        mobile = mobile || strcmp(type, "DEVTYPE=wwan") == 0 ||
                 strncmp(interface, "wwan", 4) == 0 || strncmp(interface, "ppp", 3) == 0 ||
                 strncmp(interface, "rmnet", 5) == 0;
    }
    (void)fclose(f);
    return mobile;
}

static bool is_idle(const char *root, bool working) {
    char text[64];
    double load;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    read_text(root, "proc/loadavg", text, sizeof text);
    text[strcspn(text, " ")] = '\0';
    if (num_parse_f64(text, 0, 1e6, &load, NULL) != SOTTO_OK)
        return true;
    return load - (working ? 1 : 0) < IDLE_LOAD * (double)(processors > 0 ? processors : 1);
}

static enum sotto_status take_line(char *line, sotto_client_conditions *out,
                                   struct sotto_error *err) {
    char *key = line + strspn(line, " \t\r"), *value = key + strcspn(key, " \t\r");
    struct {
        const char *key;
        bool *at;
    } flags[] = {{"charging", &out->charging},
                 {"idle", &out->idle},
                 {"unmetered", &out->unmetered},
                 {"online", &out->online}};
    uint64_t percent;
    char shown[64];
    if (*key == '\0' || *key == '#')
        return SOTTO_OK;
    if (*value != '\0')
        *value++ = '\0';
    value += strspn(value, " \t\r");
    value[strcspn(value, " \t\r")] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (strcmp(key, flags[i].key) == 0)
            return num_parse_bool(value, flags[i].at, err);
    if (strcmp(key, "battery_percent") != 0)
        return SOTTO_FAIL(
            err, SOTTO_CONFIG,
            "unknown key \"%s\"; known: charging idle unmetered online battery_percent",
            sotto_escape(shown, sizeof shown, key, strnlen(key, 40)));
    const enum sotto_status status = num_parse_u64(value, 0, 100, &percent, err);
    if (status == SOTTO_OK)
        out->battery_percent = (int)percent;
    return status;
}

enum sotto_status agent_conditions_parse(const char *name, struct view text,
                                         sotto_client_conditions *out, struct sotto_error *err) {
    struct buf b;
    enum sotto_status status = SOTTO_OK;
    unsigned number = 0;
    buf_init(&b, TEXT_MAX_BYTES + 1);
    buf_put(&b, text.p, text.n);
    buf_put_u8(&b, 0);
    if (b.status != SOTTO_OK || strlen((const char *)b.data) + 1 != b.len)
        TRY_FAIL(err, SOTTO_CONFIG, "%.180s: not text", name);
    for (char *line = (char *)b.data, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        number++;
        status = take_line(line, out, err);
        if (status != SOTTO_OK) {
            (void)sotto_error_prefix(err, "%.180s:%u", name, number);
            goto out;
        }
    }
out:
    buf_deinit(&b);
    return status;
}

/* A file that does not read stands for "offline": what the owner meant is not known. */
static enum sotto_status take_file(const char *path, sotto_client_conditions *out,
                                   struct sotto_error *err) {
    struct buf b;
    buf_init(&b, TEXT_MAX_BYTES);
    enum sotto_status status = io_read_file(path, TEXT_MAX_BYTES, &b, err);
    if (status == SOTTO_OK)
        status = agent_conditions_parse(path, buf_view(&b), out, err);
    if (status != SOTTO_OK)
        out->online = false;
    buf_deinit(&b);
    return status;
}

enum sotto_status agent_conditions_read(const char *root, const char *file, bool working,
                                        sotto_client_conditions *out, struct sotto_error *err) {
    *out = (sotto_client_conditions){.online = true, .battery_percent = -1};
    look_at_power(root, out);
    out->unmetered = !on_mobile_network(root);
    out->idle = is_idle(root, working);
    return io_exists(file) ? take_file(file, out, err) : SOTTO_OK;
}
