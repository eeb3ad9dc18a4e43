package shop.web;

import javax.crypto.Cipher;

class Pages {
    Cipher old() throws Exception {
        return Cipher.getInstance("DES"); // nosem
    }
}
