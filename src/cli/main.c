#include <stdio.h>

int main(void) {
    puts("sluice: nothing here yet");
    return 1;
}
