/* SPDX-License-Identifier: MIT */
/*
 * Media types of files by their extension; see http_field.h.
 *
 * Floor 0. Both tables are sorted by extension, in lower case, and searched by halves. The built-in
 * one gives web pages and scripts the types that RFC 9239 and the WHATWG ask for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "wire/cursor.h"
#include "wire/http_field.h"

#define TEXT_MAX ((size_t)1 << 20)
#define EXTENSIONS_MAX 8192u
#define EXTENSION_MAX 32u /* bytes of one that is looked up */
#define UNKNOWN "application/octet-stream"

struct entry {
    const char *extension;
    const char *type;
};

/* One line an extension, so that the table can be read down. */
/* clang-format off */
static const struct entry builtin[] = {
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"abw", "application/x-abiword"},
    {"ai", "application/postscript"},
    {"aif", "audio/x-aiff"},
    {"aiff", "audio/x-aiff"},
    {"apk", "application/vnd.android.package-archive"},
    {"apng", "image/apng"},
    {"arc", "application/x-freearc"},
    {"asc", "text/plain"},
    {"asf", "application/vnd.ms-asf"},
    {"atom", "application/atom+xml"},
    {"au", "audio/basic"},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"azw", "application/vnd.amazon.ebook"},
    {"bin", "application/octet-stream"},
    {"bmp", "image/bmp"},
    {"bz", "application/x-bzip"},
    {"bz2", "application/x-bzip2"},
    {"c", "text/x-csrc"},
    {"cab", "application/vnd.ms-cab-compressed"},
    {"cc", "text/x-c++src"},
    {"cer", "application/pkix-cert"},
    {"class", "application/java-vm"},
    {"conf", "text/plain"},
    {"cpp", "text/x-c++src"},
    {"crl", "application/pkix-crl"},
    {"crt", "application/x-x509-ca-cert"},
    {"csh", "application/x-csh"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"cxx", "text/x-c++src"},
    {"deb", "application/vnd.debian.binary-package"},
    {"der", "application/x-x509-ca-cert"},
    {"diff", "text/x-diff"},
    {"djvu", "image/vnd.djvu"},
    {"dmg", "application/x-apple-diskimage"},
    {"doc", "application/msword"},
    {"docm", "application/vnd.ms-word.document.macroEnabled.12"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"dot", "text/vnd.graphviz"},
    {"dotx", "application/vnd.openxmlformats-officedocument.wordprocessingml.template"},
    {"dtd", "application/xml-dtd"},
    {"dwg", "image/vnd.dwg"},
    {"dxf", "image/vnd.dxf"},
    {"eml", "message/rfc822"},
    {"eot", "application/vnd.ms-fontobject"},
    {"eps", "application/postscript"},
    {"epub", "application/epub+zip"},
    {"exe", "application/vnd.microsoft.portable-executable"},
    {"flac", "audio/flac"},
    {"flv", "video/x-flv"},
    {"gif", "image/gif"},
    {"gml", "application/gml+xml"},
    {"gpx", "application/gpx+xml"},
    {"gz", "application/gzip"},
    {"h", "text/x-chdr"},
    {"har", "application/json"},
    {"heic", "image/heic"},
    {"heif", "image/heif"},
    {"hpp", "text/x-c++hdr"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar"},
    {"ief", "image/ief"},
    {"iso", "application/x-iso9660-image"},
    {"jar", "application/java-archive"},
    {"java", "text/x-java"},
    {"jpe", "image/jpeg"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"jxl", "image/jxl"},
    {"key", "application/vnd.apple.keynote"},
    {"kml", "application/vnd.google-earth.kml+xml"},
    {"kmz", "application/vnd.google-earth.kmz"},
    {"latex", "application/x-latex"},
    {"log", "text/plain"},
    {"lua", "text/x-lua"},
    {"lz", "application/x-lzip"},
    {"m3u", "audio/mpegurl"},
    {"m3u8", "application/vnd.apple.mpegurl"},
    {"m4a", "audio/mp4"},
    {"m4s", "video/iso.segment"},
    {"m4v", "video/mp4"},
    {"map", "application/json"},
    {"markdown", "text/markdown"},
    {"md", "text/markdown"},
    {"mdb", "application/msaccess"},
    {"mid", "audio/sp-midi"},
    {"mjs", "text/javascript"},
    {"mkv", "video/x-matroska"},
    {"mov", "video/quicktime"},
    {"mp2", "audio/mpeg"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpd", "application/dash+xml"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"mpkg", "application/vnd.apple.installer+xml"},
    {"msi", "application/x-msi"},
    {"mxf", "application/mxf"},
    {"nt", "application/n-triples"},
    {"numbers", "application/vnd.apple.numbers"},
    {"odb", "application/vnd.oasis.opendocument.base"},
    {"odc", "application/vnd.oasis.opendocument.chart"},
    {"odf", "application/vnd.oasis.opendocument.formula"},
    {"odg", "application/vnd.oasis.opendocument.graphics"},
    {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"otf", "font/otf"},
    {"p12", "application/pkcs12"},
    {"p7c", "application/pkcs7-mime"},
    {"p7m", "application/pkcs7-mime"},
    {"p7s", "application/pkcs7-signature"},
    {"pages", "application/vnd.apple.pages"},
    {"patch", "text/x-diff"},
    {"pbm", "image/x-portable-bitmap"},
    {"pcap", "application/vnd.tcpdump.pcap"},
    {"pdf", "application/pdf"},
    {"pem", "application/x-pem-file"},
    {"pgm", "image/x-portable-graymap"},
    {"pgp", "application/pgp-encrypted"},
    {"php", "application/x-httpd-php"},
    {"pl", "text/x-perl"},
    {"png", "image/png"},
    {"pnm", "image/x-portable-anymap"},
    {"ppm", "image/x-portable-pixmap"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptm", "application/vnd.ms-powerpoint.presentation.macroEnabled.12"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"ps", "application/postscript"},
    {"psd", "image/vnd.adobe.photoshop"},
    {"py", "text/x-python"},
    {"rar", "application/vnd.rar"},
    {"rdf", "application/rdf+xml"},
    {"rpm", "application/x-redhat-package-manager"},
    {"rss", "application/rss+xml"},
    {"rtf", "text/rtf"},
    {"sass", "text/x-sass"},
    {"scss", "text/x-scss"},
    {"sgml", "text/SGML"},
    {"sh", "application/x-sh"},
    {"sig", "application/pgp-signature"},
    {"spx", "audio/ogg"},
    {"sql", "application/sql"},
    {"sqlite3", "application/vnd.sqlite3"},
    {"srt", "application/x-subrip"},
    {"svg", "image/svg+xml"},
    {"svgz", "image/svg+xml"},
    {"swf", "application/vnd.adobe.flash.movie"},
    {"tar", "application/x-tar"},
    {"tcl", "application/x-tcl"},
    {"tex", "text/x-tex"},
    {"text", "text/plain"},
    {"tgz", "application/gzip"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"toml", "application/toml"},
    {"torrent", "application/x-bittorrent"},
    {"tsv", "text/tab-separated-values"},
    {"ttf", "font/ttf"},
    {"ttl", "text/turtle"},
    {"txt", "text/plain"},
    {"uri", "text/uri-list"},
    {"vcard", "text/vcard"},
    {"vcf", "text/vcard"},
    {"vsd", "application/vnd.visio"},
    {"vtt", "text/vtt"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"weba", "audio/webm"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"wma", "audio/x-ms-wma"},
    {"wmv", "video/x-ms-wmv"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"wsdl", "application/wsdl+xml"},
    {"xbm", "image/x-xbitmap"},
    {"xhtml", "application/xhtml+xml"},
    {"xls", "application/vnd.ms-excel"},
    {"xlsm", "application/vnd.ms-excel.sheet.macroEnabled.12"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"xpi", "application/x-xpinstall"},
    {"xpm", "image/x-xpixmap"},
    {"xsl", "application/xslt+xml"},
    {"xslt", "application/xslt+xml"},
    {"xul", "application/vnd.mozilla.xul+xml"},
    {"xz", "application/x-xz"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};
/* clang-format on */

/* The strings are copied into the block's end. */
struct weft__mime {
    size_t count;
    struct entry *entries;
    char *text;
};

static int compare(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    return strcmp(x->extension, y->extension);
}

/* The extension of a name in lower case; false for none, or one that is too long to be known. */
static bool extension_of(struct weft__slice name, char buf[EXTENSION_MAX + 1])
{
    size_t from = name.len;
    while (from > 0 && name.at[from - 1] != '.' && name.at[from - 1] != '/')
        from--;
    struct weft__slice e = weft__slice_from(name, from);
    if (from == 0 || name.at[from - 1] != '.' || e.len == 0 || e.len > EXTENSION_MAX)
        return false;
    for (size_t i = 0; i < e.len; i++)
        buf[i] = weft__ascii_lower(e.at[i]);
    buf[e.len] = '\0';
    return true;
}

static const char *find(const struct entry *entries, size_t count, const char *extension)
{
    struct entry wanted = {.extension = extension};
    const struct entry *e = bsearch(&wanted, entries, count, sizeof(wanted), compare);
    return e == NULL ? NULL : e->type;
}

const char *weft__mime_builtin(struct weft__slice file_name)
{
    return weft__mime_type(NULL, file_name);
}

const char *weft__mime_type(const struct weft__mime *m, struct weft__slice file_name)
{
    char extension[EXTENSION_MAX + 1];
    const char *type = NULL;
    if (!extension_of(file_name, extension))
        return UNKNOWN;
    if (m != NULL)
        type = find(m->entries, m->count, extension);
    if (type == NULL)
        type = find(builtin, WEFT__ARRAY_LEN(builtin), extension);
    return type == NULL ? UNKNOWN : type;
}

/* Takes the next word off a line; the byte behind it becomes its NUL. NULL at the line's end. */
static char *word(char **line)
{
    char *from = *line + strspn(*line, " \t");
    size_t n = strcspn(from, " \t");
    if (n == 0)
        return NULL;
    *line = from + n + (from[n] != '\0');
    from[n] = '\0';
    return from;
}

/* "type/subtype ext ext ...": what is behind a '#' is a remark. */
static void read_line(struct weft__mime *m, char *line)
{
    line[strcspn(line, "#\r")] = '\0';
    const char *type = word(&line);
    struct weft__http_media_type ignored;
    char *extension;
    if (type == NULL || !weft__http_media_type(weft__slice_text(type), &ignored))
        return;
    while (m->count < EXTENSIONS_MAX && (extension = word(&line)) != NULL) {
        for (char *c = extension; *c != '\0'; c++)
            *c = weft__ascii_lower(*c);
        m->entries[m->count++] = (struct entry){extension, type};
    }
}

/* By extension, then by place in the text. */
static int compare_places(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int order = compare(a, b);
    return order != 0 ? order : (x->extension > y->extension) - (x->extension < y->extension);
}

/* Of an extension that stands twice the first is kept. */
static void sort(struct weft__mime *m)
{
    size_t kept = 0;
    qsort(m->entries, m->count, sizeof(*m->entries), compare_places);
    for (size_t i = 0; i < m->count; i++)
        if (kept == 0 || compare(&m->entries[kept - 1], &m->entries[i]) != 0)
            m->entries[kept++] = m->entries[i];
    m->count = kept;
}

int weft__mime_open(struct weft__mime **ret, struct weft__slice text)
{
    size_t len = weft__min_size(text.len, TEXT_MAX);
    struct weft__mime *m = weft__calloc(1, sizeof(*m));
    if (m == NULL)
        return -ENOMEM;
    m->text = weft__alloc(len + 1);
    m->entries = weft__calloc(EXTENSIONS_MAX, sizeof(*m->entries));
    if (m->text == NULL || m->entries == NULL) {
        weft__mime_free(m);
        return -ENOMEM;
    }
    if (len > 0)
        memcpy(m->text, text.at, len);
    m->text[len] = '\0';
    for (char *line = m->text; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        read_line(m, line);
        line = end == NULL ? NULL : end + 1;
    }
    sort(m);
    *ret = m;
    return 0;
}

void weft__mime_free(struct weft__mime *m)
{
    if (m == NULL)
        return;
    weft__free(m->text);
    weft__free(m->entries);
    weft__free(m);
}
