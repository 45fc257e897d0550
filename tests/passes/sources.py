"""Small C programs for the tests."""

SUM = """
#include <stdio.h>
static double data[4096];
static double sum(int n) { double s = 0; for (int i = 0; i < n; i++) s += data[i] * 0.5; return s; }
int main(int argc, char **argv) {
    (void)argv;
    for (int i = 0; i < 4096; i++) data[i] = i * 0.25 + argc;
    double s = 0;
    for (int i = 0; i < 200; i++) s += sum(4096);
    printf("%a\\n", s);
    return 0;
}
"""
ENDS_WITH_3 = SUM.replace("return 0;\n}", "return 3;\n}")
CRASHES = "int main(int argc, char **argv) { (void)argv; return *(volatile int *)(long)(argc - 1); }\n"
HANGS = 'int main(int argc, char **argv) { (void)argv; while (argc) { __asm__ volatile(""); } return 0; }\n'
DIFFERS_EACH_TIME = (
    '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d\\n", (int)getpid()); return 0; }\n'
)
USES_UTILITY = '#include "utility.h"\n#include <stdio.h>\nint main(void) { printf("%d\\n", twice(21)); return 0; }\n'
UTILITY = '#include "utility.h"\nint twice(int x) { return 2 * x; }\n'
UTILITY_HEADER = "int twice(int x);\n"
CPP = (
    "#include <vector>\n#include <cstdio>\nint main() { std::vector<int> v(100, 2); int s = 0; for (int x : v) s += x;"
    ' std::printf("%d\\n", s); }\n'
)
READS = """
#include <stdio.h>
int main(int argc, char **argv) {
    FILE *file = fopen(argv[argc - 1], "r");
    int from_file = 0, from_stdin = 0;
    if (!file || fscanf(file, "%d", &from_file) != 1 || scanf("%d", &from_stdin) != 1) return 1;
    if (fopen("left-behind", "r")) return 2;
    fclose(fopen("left-behind", "w"));
    printf("%d\\n", from_file * from_stdin);
    return 0;
}
"""
SILENT = "int main(void) { volatile int x = 0; for (int i = 0; i < 1000; i++) x += i; return x == 499500 ? 0 : 1; }\n"
LARGE = "".join(
    f"double f{n}(double *x, int n) {{ for (int i = 0; i < n; i++) for (int j = 1; j < n; j++) x[i] = x[i] * x[j] + x[j"
    f" - 1] / {n + 2}; return x[0]; }}\n"
    for n in range(400)
)
LARGE += "int main(void) { return 0; }\n"  # takes LLVM a second and many megabytes
